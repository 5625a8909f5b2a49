"""Train a network of the zoo: `python scripts/fit.py --model fashion_ffnn`."""

from zoo.cli import script

if __name__ == "__main__":
    script("fit")
