"""Predict on a new file: `python scripts/predict.py --weights RUN --input FILE`."""

from zoo.cli import script

if __name__ == "__main__":
    script("predict")
