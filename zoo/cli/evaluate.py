"""`evaluate`: measure saved weights again, from their files alone."""

import argparse

from zoo.cli import Trust


def main(argv: list[str]) -> None:
    """Run `evaluate` with these arguments."""
    parser = argparse.ArgumentParser(
        prog="evaluate",
        description="Repeat the metrics of a run, or of weights that the zoo ships, on its data. "
        "Where they are not those of the card, it is said why: other files, for one.",
    )
    parser.add_argument("weights", metavar="RUN_OR_WEIGHTS", help="run, .safetensors file or name")
    parser.add_argument("--data_dir", "--data.data_dir", help="folder with the data")
    parser.add_argument("--trust", action=Trust)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    chosen = parser.parse_args(argv)
    from zoo.cards import weights_path

    path = weights_path(chosen.weights)
    from zoo.cards import card_path, read_card
    from zoo.console import by_split, metrics_table, quiet
    from zoo.evaluation import compare, data_of, measure

    quiet()
    card = read_card(card_path(path))
    data = data_of(card, chosen.data_dir)
    measured = by_split(measure(path, [chosen.split], data=data))[chosen.split]
    recorded = by_split(card.metrics).get(chosen.split, {})
    print(f"{card.name} on {type(data).__name__} ({data.origin}), {chosen.split} split\n")
    print(metrics_table({"measured": measured, "card": recorded} if recorded else {"": measured}))
    if sentence := compare(card, data, measured, recorded):
        print(f"\n{sentence}")
