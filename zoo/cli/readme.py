"""The README's table of networks, made from recipes and cards."""

import warnings
from pathlib import Path

from zoo.errors import UserError
from zoo.registry import PRETRAINED, Recipe, create_model, find_recipe, list_models
from zoo.weights import Card, card_path, read_card

BEGIN, END = "<!-- networks -->", "<!-- /networks -->"


def networks_table() -> str:
    """Return the table of all documented networks and of all weights, in Markdown."""
    rows = [
        "| network | what it is | parameters | data | accuracy | training | source |",
        "| --- | --- | ---: | --- | --- | --- | --- |",
    ]
    documented = {name for name in list_models() if "." not in name}
    for name in sorted(documented | set(list_models(pretrained=True))):
        recipe, weights = find_recipe(name), PRETRAINED / f"{name}.safetensors"
        card = read_card(card_path(weights)) if weights.exists() else None
        rows.append(_row(name, recipe, card))
    return "\n".join(rows)


def _row(name: str, recipe: Recipe, card: Card | None) -> str:
    source = recipe.source.partition(",")[0]
    data = recipe.data["class_path"].rpartition(".")[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a count of parameters may rest on generated data
        parameters = sum(p.numel() for p in create_model(name).parameters())
    cells = [f"`{name}`", recipe.summary, f"{parameters:,}", data, "", "", source]
    if card:
        cells[4] = _accuracy(card)
        cells[5] = f"{card.seconds:,.0f} s" if card.seconds else ""
    return f"| {' | '.join(cells)} |"


def _accuracy(card: Card) -> str:
    """Return the accuracy over seeds: on the test split, if that is the published one."""
    published = "unpublished_files" not in card.dataset
    key = "accuracy/test" if published else "accuracy/val"
    if key not in card.seeds:
        return ""
    over = card.seeds[key]
    split = "" if published else " on validation"
    return f"{over['mean']:.2%} ± {over['std']:.2%}{split} ({len(over['values'])} seeds)"


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
