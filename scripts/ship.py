"""Put the best of several runs into the package: `python scripts/ship.py RUN RUN RUN`."""

from zoo.cli import script

if __name__ == "__main__":
    script("ship")
