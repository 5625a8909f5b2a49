"""`models`: list the networks of the zoo, show one, or set runs side by side."""

import contextlib
import inspect
import warnings

from zoo.cards import pretrained_path
from zoo.cli import CommandParser
from zoo.cli.request import listing
from zoo.errors import UserError, counted
from zoo.loading.classes import class_at
from zoo.recipe import DATAMODULES, find_recipe, list_models


def main(argv: list[str]) -> None:
    """Run `models` with these arguments."""
    parser = CommandParser(prog="models", description="What the zoo has.")
    parser.add_argument("pattern", nargs="?", default="*", help="names to list, such as '*mnist*'")
    parser.add_argument("--model", help="show one network: structure, source, data, weights")
    parser.add_argument("--pretrained", action="store_true", help="only those with weights")
    parser.add_argument("--runs", metavar="FOLDER", help="the runs below a folder, side by side")
    parser.add_argument("--metric", default="", help="with --runs: sort by it, such as loss/val")
    chosen = parser.parse_args(argv)
    if chosen.metric and not chosen.runs:
        raise UserError("--metric belongs to --runs FOLDER.")
    if chosen.runs:
        from zoo.cli.runs import runs_table

        print(runs_table(chosen.runs, chosen.metric))
    elif chosen.model:
        print(describe(chosen.model))
    elif chosen.pretrained:
        print("\n".join(list_models(chosen.pattern, pretrained=True)))
    elif list_models(chosen.pattern):
        print(listing(chosen.pattern))
    else:
        raise UserError(f"No network's name matches '{chosen.pattern}'; without it all are listed.")


def describe(name: str) -> str:
    """Return what there is to know about one network, as text."""
    recipe = find_recipe(name)
    from zoo.cards import card_path, read_card
    from zoo.console import quiet, table
    from zoo.layers import layer_rows
    from zoo.registry import create_model

    quiet()
    model = create_model(name)
    facts = {
        "source": recipe.source,
        "note": recipe.note,
        "task": f"{model.spec.task}, {counted(model.num_outputs, 'output')}",
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "data": recipe.data["class_path"].removeprefix("datamodules."),
        "pairs with": ", ".join(pairings(name)),
        "command": f"python scripts/fit.py --model {name}",
    }
    lines = [f"{recipe.name}: {recipe.summary}", ""]
    lines += [f"{title:11} {text}" for title, text in facts.items() if text]
    lines += ["", table(layer_rows(model), ["layer", "kind", "output shape", "parameters"])]
    weights = None
    with contextlib.suppress(UserError):  # most have none
        weights = pretrained_path(recipe.name, tell=False)
    if weights:
        card = read_card(card_path(weights))
        metrics = "  ".join(f"{k} {v:.4f}" for k, v in card.metrics.items() if k.endswith("/test"))
        lines += ["", f"weights     {card.name}: {metrics}", f"sha256      {card.sha256}"]
    return "\n".join(lines)


def pairings(name: str) -> list[str]:
    """Return the datamodules that a network can read, by trying each on its shape.

    One that cannot be made without an argument, such as a folder, cannot be tried.
    """
    from zoo.registry import create_datamodule, create_model

    readable = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # synthetic data show shapes as well as real data
        for data in sorted(set(DATAMODULES) - {"tabular"}):
            try:
                inspect.signature(class_at(DATAMODULES[data])).bind()
            except TypeError:
                continue
            with contextlib.suppress(UserError):
                create_model(name, datamodule=create_datamodule(data))
                readable.append(data)
    return readable
