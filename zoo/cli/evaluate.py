"""`evaluate`: measure saved weights again, or on the user's own labelled files."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from zoo.cli import CommandParser, Trust
from zoo.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from datamodules import TensorDataModule

# A confusion matrix of more classes than these is wider than a terminal.
MOST_CLASSES = 20


def main(argv: list[str]) -> None:
    """Run `evaluate` with these arguments."""
    parser = CommandParser(
        prog="evaluate",
        description="Repeat the metrics of a run, or of weights that the zoo ships, on its data. "
        "Where they are not those of the card, it is said why: other files, for one. With --data "
        "measure them on other labelled data instead.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "named", metavar="RUN_OR_WEIGHTS", nargs="?", help="run, .safetensors file or name"
    )
    parser.add_argument("--weights", help="the same")
    parser.add_argument("--data_dir", "--data.data_dir", help="folder with the data")
    parser.add_argument(
        "--data",
        help="other data: images, csv, text, mnist, ... with --data.path and what else the data "
        "take; or a table's or folder's path",
    )
    parser.add_argument(
        "--inspect",
        default="basic",
        help="with --data, what TensorBoard shows of it below runs/evaluations: none, basic, full",
    )
    parser.add_argument("--trust", action=Trust)
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="which split; by default test, and all examples of files that are not split",
    )
    own, rest = _apart(argv)
    chosen = parser.parse_args(own)
    if bool(chosen.named) == bool(chosen.weights):
        parser.error("name the weights once: RUN_OR_WEIGHTS or --weights")
    if rest and not chosen.data:
        raise UserError(f"{rest[0]} goes with --data, which names the data.")
    from zoo.cards import weights_path

    path = weights_path(chosen.named or chosen.weights)
    if chosen.data:
        _score_own(path, chosen, rest)
    else:
        _repeat(path, chosen)


def _apart(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments, and those of the data (`--data.path DIR`) apart."""
    own: list[str] = []
    of_data: list[str] = []
    waiting = False  # for the value of an option of the data
    for argument in argv:
        name, equals, _ = argument.partition("=")
        if name.startswith("--data.") and name != "--data.data_dir":
            of_data.append(argument)
            waiting = not equals
        else:
            (of_data if waiting else own).append(argument)
            waiting = False
    return own, of_data


def _repeat(path: "Path", chosen: argparse.Namespace) -> None:
    from zoo.cards import card_path, read_card
    from zoo.console import by_split, metrics_table, quiet
    from zoo.evaluation import compare, data_of, has_split, measure
    from zoo.fitted.calibration import sentence
    from zoo.fitted.decisions import sentence as decision_sentence
    from zoo.running.after_training import measure_calibration, measure_decision
    from zoo.weights import load_weights

    quiet()
    split = chosen.split or "test"
    if split == "train":
        raise UserError("--split train goes with --data: a card's figures are of val and test.")
    card = read_card(card_path(path))
    data = data_of(card, chosen.data_dir)
    if not has_split(data, split):
        raise UserError(
            f"'{path}' was trained without a {split} split: --data FILE measures it on other data."
        )
    measured = by_split(measure(path, [split], data=data))[split]
    recorded = by_split(card.metrics).get(split, {})
    print(f"{card.name} on {data.title} ({data.origin}), {split} split\n")
    print(metrics_table({"measured": measured, "card": recorded} if recorded else {"": measured}))
    model = load_weights(path)
    if found := measure_calibration(model, data, [split]):
        print(f"\n{sentence(found['temperature'], found[split])}")
    if found := measure_decision(model, data, [split]):
        print(f"\n{decision_sentence(found, split, (model.class_names or [''])[-1])}")
    if differences := compare(card, data, measured, recorded):
        print(f"\n{differences}")


def _score_own(path: "Path", chosen: argparse.Namespace, options: list[str]) -> None:
    from lightning.pytorch.loggers import TensorBoardLogger

    from zoo.callbacks.tensorboard import tensorboard_panels
    from zoo.console import metrics_table, quiet
    from zoo.evaluation import score
    from zoo.fitted.decisions import sentence as decision_sentence
    from zoo.module import ZooModule
    from zoo.running.after_training import measure_decision

    quiet()
    tensorboard_panels(chosen.inspect)  # a wrong name is told before anything is read
    model = ZooModule.from_pretrained(path)
    if chosen.data_dir:
        options = [*options, f"--data.data_dir={chosen.data_dir}"]
    data = _own_data(chosen.data, options, model.spec)
    data.follow(model)
    sizes = {split: len(y) for split, (_, y) in data.splits.items()}
    split = chosen.split or ("test" if sizes["test"] else "train")
    if not sizes[split]:
        raise UserError(f"There are no examples in the {split} split; it has {sizes}.")
    which = f"{split} split" if sizes[split] < sum(sizes.values()) else "all of it"
    print(
        f"{path.parent if path.stem == 'weights' else path.stem} on {data.title}, "
        f"{which}, {sizes[split]:,} examples"
    )
    if data.profile:
        print(data.profile)
    name = path.parent.parent.name + "-" + path.parent.name if path.stem == "weights" else path.stem
    logger = None
    if chosen.inspect != "none":
        logger = TensorBoardLogger("runs/evaluations", name=name, default_hp_metric=False)
    try:
        metrics, confusion = score(model, data, split, logger, chosen.inspect)
    except OSError as error:
        raise UserError(
            f"What TensorBoard shows cannot be written to runs/evaluations: {error.strerror}. "
            "--inspect none leaves it out."
        ) from error
    print(f"\n{metrics_table({'all' if which == 'all of it' else split: metrics})}")
    if decision := measure_decision(model, data, [split]):
        print(f"\n{decision_sentence(decision, split, (model.class_names or [''])[-1])}")
    if confusion is not None:
        print(f"\n{_confusion_table(confusion, model.class_names)}")
    if logger:
        print(f"what went wrong: tensorboard --logdir {logger.root_dir}", file=sys.stderr)


def _own_data(name: str, options: list[str], spec: Any) -> "TensorDataModule":
    """Make the data that a user named; of files that are not split all examples are kept."""
    import inspect
    from pathlib import Path

    from lightning.pytorch import LightningDataModule

    from datamodules.gathered import measurable
    from zoo.loading.classes import class_at
    from zoo.recipe import DATAMODULES
    from zoo.run_recipe import TABLE_SUFFIXES
    from zoo.running.settings import Parser

    path = None
    if name not in DATAMODULES and (Path(name).is_dir() or Path(name).suffix in TABLE_SUFFIXES):
        path = name
        name = {"pixels": "images", "tokens": "text"}.get(spec.kind, "csv")
    elif name not in DATAMODULES and "." not in name:
        from zoo.errors import unknown

        raise unknown("data", name, DATAMODULES)
    kind = class_at(DATAMODULES.get(name, name), LightningDataModule)
    known = inspect.signature(kind).parameters
    parser = Parser(prog="evaluate")
    parser.add_class_arguments(kind, "data", skip={"augment"} & known.keys())
    defaults: dict[str, Any] = {"data.path": path} if path else {}
    if "path" in known:
        held_out = ("val_split", "test_split", "val_size", "test_size")
        defaults |= {f"data.{o}": 0 for o in held_out if o in known}
        target = spec.preprocessing.get("target", {}).get("names")
        if "target" in known and target:
            defaults["data.target"] = target
    parser.set_defaults(defaults)
    return measurable(kind(**parser.parse_args(options).data.as_dict()))


def _confusion_table(confusion: Any, names: list[str]) -> str:
    """Return the confusion matrix, or of many classes what was taken for what most often."""
    from zoo.console import table

    if len(names) <= MOST_CLASSES:
        rows = [
            [name, *(str(int(count)) for count in row)]
            for name, row in zip(names, confusion, strict=True)
        ]
        return "rows: the class; columns: the prediction\n" + table(rows, ["", *names])
    wrong = [
        (int(confusion[i, j]), names[i], names[j])
        for i in range(len(names))
        for j in range(len(names))
        if i != j and confusion[i, j]
    ]
    rows = [[name, other, str(count)] for count, name, other in sorted(wrong, reverse=True)[:20]]
    return table(rows, ["class", "taken for", "times"])
