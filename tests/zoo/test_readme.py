"""The README's table of networks is that of the recipes and cards."""

import warnings
from pathlib import Path

from zoo.cli.readme import networks_table

README = Path(__file__).parents[2] / "README.md"


def test_the_table_of_networks_is_up_to_date() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a count of parameters may rest on generated data
        table = networks_table()

    assert table in README.read_text("utf-8"), "run: python scripts/models.py --readme README.md"


def test_nothing_in_the_readme_waits_to_be_filled_in() -> None:
    assert "@@" not in README.read_text("utf-8")
