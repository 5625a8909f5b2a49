"""Write a network as a file of its own: `python scripts/export.py --weights RUN --format onnx`."""

from zoo.cli import script

if __name__ == "__main__":
    script("export")
