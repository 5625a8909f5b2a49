"""Bring the README's table of networks up to date: `python scripts/maintain/readme.py`.

It is made from the recipes and from the cards of the weights that we ship.
"""

import argparse
import sys
import warnings
from pathlib import Path

from zoo.cards import Card
from zoo.cli import run_main
from zoo.errors import UserError
from zoo.recipe import Recipe, find_recipe, list_models
from zoo.registry import create_model, model_card

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- networks -->", "<!-- /networks -->"

ONE_SEED = (
    "\\* of the shipped file alone: its other seeds were not measured on the published test images."
)


def main(argv: list[str]) -> None:
    """Rewrite a README, and say whether anything in it was out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", nargs="?", type=Path, default=README)
    chosen = parser.parse_args(argv)
    print(f"{chosen.readme} {'rewritten' if rewrite(chosen.readme) else 'is up to date'}")


def networks_table() -> str:
    """Return the table of all documented networks and of all weights, in Markdown."""
    rows = [
        "| network | what it is | parameters | size | data | validation accuracy | test accuracy "
        "| seeds | training | source |",
        "| --- | --- | ---: | ---: | --- | --- | --- | ---: | ---: | --- |",
    ]
    shipped = {name.removesuffix(".documented"): name for name in list_models(pretrained=True)}
    for name in sorted({name for name in list_models() if "." not in name} | shipped.keys()):
        card = model_card(shipped[name]) if name in shipped else None
        rows.append(_row(name, find_recipe(name), card))
    if any("\\*" in row for row in rows):
        rows += ["", ONE_SEED]
    return "\n".join(rows)


def _row(name: str, recipe: Recipe, card: Card | None) -> str:
    if card:
        parameters = card.parameters
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a count of parameters may rest on synthetic data
            parameters = sum(p.numel() for p in create_model(name).parameters())
    measured = [""] * 4
    if card:
        measured = [
            _accuracy(card, "val"),
            _accuracy(card, "test"),
            str(len(next(iter(card.seeds.values()))["values"])),
            "" if card.seconds is None else f"{card.seconds:,.0f} s",
        ]
    cells = [
        f"`{name}`",
        recipe.summary,
        f"{parameters:,}",
        f"{card.bytes / 1e3:,.0f} kB" if card else "",
        recipe.data["class_path"].rpartition(".")[2],
        *measured,
        recipe.source.partition(",")[0],
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(card: Card, split: str) -> str:
    """Return mean and standard deviation over seeds; of the file alone, marked, if that is all."""
    if (over := card.seeds.get(f"accuracy/{split}")) is not None:
        return f"{over['mean']:.2%} ± {over['std']:.2%}"
    alone = card.metrics.get(f"accuracy/{split}")
    return "" if alone is None else f"{alone:.2%}\\*"


def rewrite(readme: Path) -> bool:
    """Put the table between the markers of a README; return whether it changed.

    Raises:
        UserError: If the file has no markers.
    """
    if not readme.is_file():
        raise UserError(f"There is no file '{readme}'.")
    text = readme.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise UserError(f"'{readme}' has no markers {BEGIN} and {END}.")
    fresh = f"{before}{begin}\n{networks_table()}\n{end}{after}"
    if fresh != text:
        readme.write_text(fresh, "utf-8")
    return fresh != text


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
