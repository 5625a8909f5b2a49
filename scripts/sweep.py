"""Search settings, or repeat a run over seeds or folds: `python scripts/sweep.py --model NAME`."""

from zoo.cli import script

if __name__ == "__main__":
    script("sweep")
