"""What `fit` decides before anything heavy is imported: the recipe, and what it is called with.

Torch and Lightning take seconds to import; a listing, a wrong name and a `--help` must not wait
for them.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.callbacks.tensorboard.registry import LEVELS, chosen_panels
from zoo.errors import UserError, nearest
from zoo.registry import (
    DATAMODULES,
    Recipe,
    data_spec,
    find_recipe,
    list_models,
    make_recipe,
    pretrained_path,
    read_yaml,
)

# What users type, and the option of the full parser that it stands for.
SHORTHANDS = {
    "--lr": "--optimizer.lr",
    "--seed": "--seed_everything",
    "--head-lr": "--model.head_lr",
    "--head_lr": "--model.head_lr",
    "--layer-decay": "--model.layer_decay",
    "--layer_decay": "--model.layer_decay",
    "--unfreeze-at-epoch": "--model.unfreeze_at_epoch",
    "--unfreeze_at_epoch": "--model.unfreeze_at_epoch",
}


@dataclass(frozen=True)
class Request:
    """A call of `fit`, understood as far as that goes without torch.

    Attributes:
        recipe: The recipe, with `--config` files and `--data` worked in.
        argv: What is left for the full parser.
        help: Whether only help is wanted.
        print_config: Whether only the configuration is wanted.
        pretrained: Whether to start from shipped weights.
        inspect: How much to show in TensorBoard, as `zoo.callbacks.tensorboard` reads it.
        open: Whether to start TensorBoard.
    """

    recipe: Recipe
    argv: list[str]
    help: bool = False
    print_config: bool = False
    pretrained: bool = False
    inspect: str = "basic"
    open: bool = False


def understand(argv: list[str]) -> Request | None:
    """Work out what is asked; print and return None if that was a listing or general help."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--config", "-c", action="append", default=[])
    parser.add_argument("--freeze", action="append", default=[])
    parser.add_argument("--inspect", default="basic")
    for flag in ("--list", "--print_config", "--pretrained", "--open"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    parser.error = _complain
    chosen, rest = parser.parse_known_args(argv)
    if chosen.list:
        print(listing())
        return None
    chosen_panels(chosen.inspect)  # a wrong name is told before torch is imported
    if chosen.model is None and not chosen.config:
        if chosen.help:
            print(USAGE)
            return None
        known = [action.option_strings[0] for action in parser._actions]
        wrong = next((a.partition("=")[0] for a in rest if a.startswith("--")), "")
        close = nearest(wrong, known)
        if close and wrong not in SHORTHANDS:
            raise UserError(f"There is no option {wrong}. Did you mean {' or '.join(close)}?")
        raise UserError("--model NAME is missing; `--list` shows the names.")
    recipe = _recipe(chosen.model, [Path(c).expanduser() for c in chosen.config])
    if chosen.data:
        recipe = replace(recipe, data=data_spec(chosen.data, recipe))
    if chosen.pretrained:
        # The structure is the weights': conv_net's own have a hidden layer that its document lacks.
        recipe = replace(recipe, model=find_recipe(pretrained_path(recipe.name).stem).model)
    recipe, rest = _drop_replaced(recipe, rest)
    if chosen.freeze:
        rest += [f"--model.freeze=[{', '.join(repr(pattern) for pattern in chosen.freeze)}]"]
    return Request(
        recipe=recipe,
        argv=[_expand(argument) for argument in rest],
        help=chosen.help,
        print_config=chosen.print_config,
        pretrained=chosen.pretrained,
        inspect=chosen.inspect,
        open=chosen.open,
    )


def listing(pattern: str = "*") -> str:
    """Return the names of all networks with their summaries, aligned."""
    recipes = [find_recipe(name) for name in list_models(pattern)]
    width = max((len(recipe.name) for recipe in recipes), default=0)
    return "\n".join(f"{recipe.name:{width}}  {recipe.summary}" for recipe in recipes)


USAGE = f"""usage: fit --model NAME [--data DATA] [options]

Train a network of the zoo on the data that it is paired with, as its document says.

  --model NAME[.TAG]     the network's recipe, or a recipe file of your own (.yaml)
  --data DATA            pair it with other data: {", ".join(DATAMODULES)}
  --model.OPTION VALUE   any argument of the network, such as --model.hidden_dim 256
  --data.OPTION VALUE    any argument of the data, such as --data.batch_size 128
  --trainer.OPTION VALUE any argument of Lightning's Trainer, such as --trainer.max_epochs 3
  --optimizer NAME       any class of torch.optim, with --optimizer.OPTION VALUE
  --lr_scheduler NAME    any learning rate schedule, with --lr_scheduler.OPTION VALUE
  --lr VALUE             the same as --optimizer.lr
  --seed N               the seed of everything that is drawn
  --pretrained           start from the weights that the zoo ships
  --freeze PATTERN       what does not learn: backbone, or a pattern such as 'backbone.1.*'
  --unfreeze-at-epoch N  when it begins to learn after all
  --head-lr VALUE        learning rate of the head; --layer-decay VALUE: factor per layer below
  --inspect LEVEL        what TensorBoard shows: {", ".join(LEVELS)}, or less of it:
                         full,-projector,-histograms
  --open                 start TensorBoard beside the run; it goes on until Ctrl-C
  --config FILE          settings from a file; a run's config.yaml repeats the run
  --ckpt_path FILE       go on from a checkpoint
  --print_config         print the settings and stop
  --list                 the networks
  --help                 this; with --model NAME: every argument of that network and its data
"""


def _recipe(name: str | None, configs: list[Path]) -> Recipe:
    """Merge the named recipe and the configuration files, the later ones winning."""
    content: dict[str, Any] = {}
    path = None
    if name is not None:
        recipe = find_recipe(name)
        path = recipe.path
        content = {k: getattr(recipe, k) for k in Recipe.__dataclass_fields__ if k != "path"}
    for config in configs:
        content = _merge(content, read_yaml(config))
        path = None
    if configs and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where the classes of a user's own run are
    content.setdefault("name", configs[-1].stem if configs else "")
    return make_recipe(content, path)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge settings; `model: {hidden_dim: 3}` stands for its init_args."""
    merged = dict(base)
    for key, value in change.items():
        if key in ("model", "data", "optimizer", "lr_scheduler") and isinstance(value, dict):
            if "class_path" not in value and "init_args" not in value:
                value = {"init_args": value}
            old = merged.get(key) or {}
            same = value.get("class_path", old.get("class_path")) == old.get("class_path")
            kept = (old.get("init_args") or {}) if same else {}
            changed = value.get("init_args") or {}
            value = {**old, **value, "init_args": {**kept, **changed}}
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = {**merged[key], **value}
        merged[key] = value
    return merged


def _drop_replaced(recipe: Recipe, argv: list[str]) -> tuple[Recipe, list[str]]:
    """Let `--optimizer NAME` and `--lr_scheduler NAME` replace the recipe's with all arguments.

    The learning rate of SGD would ruin Adam, so nothing of the old one is kept.
    """
    for key in ("optimizer", "lr_scheduler"):
        for i, argument in enumerate(argv):
            option, equals, value = argument.partition("=")
            if option != f"--{key}":
                continue
            last = i if equals else i + 1
            value = value if equals else "".join(argv[i + 1 : i + 2])
            # The class comes first: its options are checked against it.
            chosen = [] if value.lower() in ("none", "null") else argv[i : last + 1]
            argv = chosen + argv[:i] + argv[last + 1 :]
            recipe = replace(recipe, **{key: None})
            break
    return recipe, argv


def _expand(argument: str) -> str:
    option, equals, value = argument.partition("=")
    return SHORTHANDS.get(option, option) + equals + value


def _complain(message: str) -> None:
    raise UserError(f"{message[0].upper()}{message[1:]}.")
