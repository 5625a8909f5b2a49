"""Write the API's pages from the docstrings: `python scripts/maintain/api.py [--out api]`.

They have every public name with its arguments, and what the functions return; reading them needs no
network.
"""

import argparse
import importlib
import sys
from pathlib import Path

from zoo.cli import run_main
from zoo.extras import require_extra

PACKAGES = ("zoo", "datamodules", "zoo.architectures")
RETURNED = ("zoo.running.run", "zoo.sweeping.result", "zoo.cards", "zoo.recipe")


def main(argv: list[str]) -> None:
    """Write the pages, and say where they begin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("api"), help="folder to write to")
    chosen = parser.parse_args(argv)
    require_extra("docs", "The API's pages", "pdoc")
    import pdoc

    for name in PACKAGES:
        package = importlib.import_module(name)
        for public in package.__all__:  # resolved when first used, and pdoc looks without using
            vars(package)[public] = getattr(package, public)
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*PACKAGES, *RETURNED, output_directory=chosen.out)
    print(chosen.out / "zoo.html")


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
