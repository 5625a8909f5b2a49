"""Measure what design choices cost: `python scripts/benchmark.py loop`."""

from zoo.cli import script

if __name__ == "__main__":
    script("benchmark")
