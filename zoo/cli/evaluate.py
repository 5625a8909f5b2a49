"""`evaluate`: measure saved weights again, from their files alone."""

import argparse

from zoo.errors import UserError


def main(argv: list[str]) -> None:
    """Run `evaluate` with these arguments."""
    parser = argparse.ArgumentParser(
        prog="evaluate",
        description="Repeat the metrics of a run, or of weights that the zoo ships, on its data.",
    )
    parser.add_argument("weights", metavar="RUN_OR_WEIGHTS", help="run, .safetensors file or name")
    parser.add_argument("--data_dir", "--data.data_dir", help="folder with the data")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    chosen = parser.parse_args(argv)
    from zoo.weights import weights_path

    path = weights_path(chosen.weights)
    import lightning.pytorch as pl

    from datamodules import TensorDataModule
    from zoo.classes import class_at
    from zoo.cli.console import by_split, metrics_table, quiet
    from zoo.registry import instantiate
    from zoo.weights import card_path, load_weights, read_card

    quiet()
    if not card_path(path).exists():
        raise UserError(f"'{path}' has no card beside it, so its data are unknown.")
    card = read_card(card_path(path))
    spec = card.recipe.get("data") or {}
    # A card may come from anywhere: it can name data, not any class whatever.
    if not spec or not issubclass(class_at(spec["class_path"]), TensorDataModule):
        raise UserError(f"'{card_path(path)}' does not say which data its metrics are of.")
    # Nothing is augmented in an evaluation, so nothing else need be made.
    options = {k: v for k, v in spec.get("init_args", {}).items() if k != "augment"}
    if chosen.data_dir:
        options["data_dir"] = chosen.data_dir
    model = load_weights(path)
    data = instantiate({"class_path": spec["class_path"], "init_args": options})
    trainer = pl.Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    evaluate = trainer.test if chosen.split == "test" else trainer.validate
    measured = by_split(evaluate(model, datamodule=data, verbose=False)[0])[chosen.split]
    recorded = by_split(card.metrics).get(chosen.split, {})
    print(f"{card.name} on {type(data).__name__} ({data.origin}), {chosen.split} split\n")
    print(metrics_table({"measured": measured, "card": recorded} if recorded else {"": measured}))
