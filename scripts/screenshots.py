"""Take pictures of TensorBoard's pages for the README: `python scripts/screenshots.py runs`."""

from zoo.cli import script

if __name__ == "__main__":
    script("screenshots")
