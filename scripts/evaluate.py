"""Repeat the test metrics of a run or of shipped weights: `python scripts/evaluate.py RUN`."""

from zoo.cli import script

if __name__ == "__main__":
    script("evaluate")
