"""What `fit` decides before anything heavy is imported: the recipe, and what it is called with.

Torch and Lightning take seconds to import; a listing, a wrong name and a `--help` must not wait
for them.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.callbacks.tensorboard.registry import LEVELS, chosen_panels
from zoo.cli import CommandParser, Trust
from zoo.errors import UserError, nearest
from zoo.fitted.interval import Interval
from zoo.learning import SETTINGS
from zoo.loading.own_modules import may_name_in
from zoo.names import checked_name
from zoo.recipe import DATAMODULES, Recipe, find_recipe, list_models
from zoo.run_folder import CONFIG, find_run
from zoo.run_recipe import choose_recipe, default_model

# What users type, the option of the full parser that it stands for, and what it does.
SHORTHANDS = {
    "--lr": ("--optimizer.lr", "learning rate"),
    "--seed": ("--seed_everything", "seed of everything that is drawn"),
    "--lr_scheduler.interval": ("--lr_scheduler_interval", "when it moves: step or epoch"),
    "--lr_scheduler.frequency": ("--lr_scheduler_frequency", "after how many of them"),
    "--head_lr": ("--learning.head_lr", "learning rate of the head"),
    "--layer_decay": ("--learning.layer_decay", "factor of the rate, per layer below the head"),
    "--unfreeze_at_epoch": ("--learning.unfreeze_at_epoch", "when what is frozen begins to learn"),
}


@dataclass(frozen=True)
class Request:
    """A call of `fit`, understood as far as that goes without torch.

    Attributes:
        recipe: The recipe, with `--config` files, `--data` and `--weights` worked in.
        argv: What is left for the full parser.
        help: What help is wanted: nothing, `model` or `trainer`.
        print_config: Whether only the configuration is wanted.
        inspect: How much to show in TensorBoard, as `zoo.callbacks.tensorboard` reads it.
        open: Whether to start TensorBoard.
        checkpoint_every: The longest time or number of updates between two checkpoints.
        resume: The folder of the run to go on with, if any.
        name: What the run is to be called; `version_N` if nothing.
        lr_find: Whether to look for a learning rate first.
        overfit: On how many batches to check whether anything can be learned; 0 to train.
    """

    recipe: Recipe
    argv: list[str]
    help: str = ""
    print_config: bool = False
    inspect: str = "basic"
    open: bool = False
    checkpoint_every: str = "5min"
    resume: Path | None = None
    name: str = ""
    lr_find: bool = False
    overfit: int = 0


def parse_request(argv: list[str]) -> Request | None:
    """Work out what is asked; print and return None if that was a listing or general help."""
    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--weights")
    parser.add_argument("--config", "-c", action="append", default=[])
    parser.add_argument("--freeze", action="append", default=[])
    parser.add_argument("--inspect", default="basic")
    parser.add_argument("--trust", action=Trust)
    parser.add_argument("--resume", nargs="?", const=True)
    parser.add_argument("--checkpoint_every", default="5min")
    parser.add_argument("--name")
    parser.add_argument("--overfit", type=int)
    for flag in ("--list", "--print_config", "--pretrained", "--open", "--lr_find"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--help", "-h", nargs="?", const="model", default="")
    chosen, rest = parser.parse_known_args(argv)
    if chosen.pretrained and "--pretrained" in argv:
        after = "".join(argv[argv.index("--pretrained") + 1 :][:1])
        if after in rest and not after.startswith("-"):
            raise UserError(
                "--pretrained has no value: it takes the zoo's own weights for the name. To start "
                f"from others: --weights {after}."
            )
    for option, value in vars(chosen).items():
        if value == [] != parser.get_default(option) or (isinstance(value, list) and [] in value):
            raise UserError(f"--{option} has no value: `--` is none.")  # argparse drops it
    if chosen.list:
        print(listing())
        return None
    if chosen.help not in ("", "model", "trainer"):
        raise UserError(f"--help takes nothing or trainer, not {chosen.help}.")
    if chosen.overfit is not None and chosen.overfit < 1:
        raise UserError(f"--overfit takes a number of batches from 1 on, not {chosen.overfit}.")
    if chosen.overfit and (chosen.lr_find or chosen.resume):
        other = "--lr_find" if chosen.lr_find else "--resume"
        raise UserError(f"--overfit checks and does not train: leave {other} out.")
    chosen_panels(chosen.inspect)  # a wrong name is told before torch is imported
    Interval.of(chosen.checkpoint_every)
    if not (chosen.model or chosen.config or chosen.weights or chosen.resume):
        chosen.model = default_model(chosen.data)
    if not (chosen.model or chosen.config or chosen.weights or chosen.resume):
        if chosen.help:
            print(USAGE)
            return None
        known = [action.option_strings[0] for action in parser._actions]
        wrong = next((a.partition("=")[0] for a in rest if a.startswith("--")), "")
        close = nearest(wrong, known)
        if close and wrong not in SHORTHANDS:
            raise UserError(f"There is no option {wrong}. Did you mean {' or '.join(close)}?")
        raise UserError("--model NAME is missing; `--list` shows the names.")
    may_name_in([*argv, *rest])
    resume = _find_run(chosen, rest) if chosen.resume else None
    if resume:
        chosen.model, chosen.config = None, [resume / CONFIG]
    recipe = choose_recipe(
        chosen.model,
        chosen.config,
        data=chosen.data,
        weights=chosen.weights,
        pretrained=chosen.pretrained,
    )
    recipe, rest = _drop_replaced(recipe, rest)
    if chosen.freeze:
        rest += [f"--learning.freeze=[{', '.join(repr(pattern) for pattern in chosen.freeze)}]"]
    return Request(
        recipe=recipe,
        argv=[_expand(argument) for argument in rest],
        help=chosen.help,
        print_config=chosen.print_config,
        inspect=chosen.inspect,
        open=chosen.open,
        checkpoint_every=chosen.checkpoint_every,
        resume=resume,
        name="" if chosen.name is None else checked_name(chosen.name, "the run"),
        lr_find=chosen.lr_find,
        overfit=chosen.overfit or 0,
    )


def _find_run(chosen: argparse.Namespace, rest: list[str]) -> Path:
    """Return the folder of the run to go on with; its settings are its own."""
    others = {"--data": chosen.data, "--weights": chosen.weights, "--config": chosen.config}
    others["--pretrained"] = chosen.pretrained
    if given := [option for option, value in others.items() if value]:
        raise UserError(
            f"{given[0]} does not go with --resume: a run goes on with its own settings. Leave it "
            "out, or begin another run."
        )
    root = CommandParser(add_help=False, allow_abbrev=False)
    root.add_argument("--trainer.default_root_dir", dest="folder", default="runs")
    return find_run(chosen.resume, chosen.model, Path(root.parse_known_args(rest)[0].folder))


def listing(pattern: str = "*") -> str:
    """Return the names of all networks with their summaries, aligned."""
    recipes = [find_recipe(name) for name in list_models(pattern)]
    width = max((len(recipe.name) for recipe in recipes), default=0)
    return "\n".join(f"{recipe.name:{width}}  {recipe.summary}" for recipe in recipes)


SHORTHANDS_HELP = "\n".join(
    f"  {f'{option} VALUE':<24} {purpose}; the same as {long}"
    for option, (long, purpose) in SHORTHANDS.items()
)
USAGE = f"""usage: fit --model NAME [--data DATA] [options]

Train a network of the zoo on the data that it is paired with, as its document says.

  --model NAME[.TAG]       the network's recipe, or a recipe file of your own (.yaml);
                           for --data csv it may be left out: tabular_net
  --data DATA              other data: {", ".join(DATAMODULES)};
                           or the path of a table, or the class path of a datamodule of your own
  --model.OPTION VALUE     any argument of the network, such as --model.hidden_dim 256
  --learning.OPTION VALUE  how it learns, such as --learning.loss mse
  --data.OPTION VALUE      any argument of the data, such as --data.batch_size 128
  --trainer.OPTION VALUE   any argument of Lightning's Trainer, such as --trainer.max_epochs 3
  --trainer.precision auto bf16-mixed if it is faster here with the same loss, else 32-true
  --optimizer NAME         any class of torch.optim, with --optimizer.OPTION VALUE
  --lr_scheduler NAME      any learning rate schedule, with --lr_scheduler.OPTION VALUE
{SHORTHANDS_HELP}
  --weights WEIGHTS        start from weights: a name of the zoo, a run or a file
  --pretrained             start from the weights that the zoo ships for this name
  --freeze PATTERN         what does not learn: backbone, or a pattern such as 'backbone.1.*'
  --inspect LEVEL          what TensorBoard shows: {", ".join(LEVELS)}, or less of it:
                           full,-projector,-histograms
  --name NAME              a name for the run's folder, instead of version_N
  --lr_find                look for a learning rate first; the run stays as it would be
  --overfit N              check whether N batches can be learned by heart, instead of training
  --open                   start TensorBoard beside the run; it goes on until Ctrl-C
  --config FILE            settings from a file; a run's config.yaml repeats the run
  --resume [RUN]           go on with a run: the newest unfinished one of --model NAME, or the one
                           in this folder; with --trainer.max_epochs it gets longer
  --checkpoint_every N     the longest between two checkpoints: updates (200) or time (30s, 5min)
  --ckpt_path FILE         begin a run of its own from a checkpoint
  --trust CLASS            a network of your own that weights may name, such as my_network.Net
  --print_config           print the settings and stop
  --list                   the networks
  --help                   this; with --model NAME: every argument of that network and its data;
                           --help trainer: every argument of Lightning's Trainer
"""


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
            recipe = replace(recipe, **{key: None})  # type: ignore[arg-type]
            break
    return recipe, argv


def _expand(argument: str) -> str:
    option, equals, value = argument.partition("=")
    group, _, setting = option.partition(".")
    if group == "--model" and setting in SETTINGS:
        raise UserError(f"{option} is called --learning.{setting}.")
    return SHORTHANDS.get(option, (option,))[0] + equals + value
