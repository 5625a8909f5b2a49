"""List the networks of the zoo, or show one: `python scripts/models.py --model NAME`."""

from zoo.cli import script

if __name__ == "__main__":
    script("models")
