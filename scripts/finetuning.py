"""Compare training from scratch with fine-tuning: `python scripts/finetuning.py`."""

from zoo.cli import script

if __name__ == "__main__":
    script("finetuning")
