"""Try a network on a page in the browser: `python scripts/demo.py --weights RUN`."""

from zoo.cli import script

if __name__ == "__main__":
    script("demo")
