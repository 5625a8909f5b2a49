"""LightningCLI with fixed classes, our recipes as defaults and our own words for errors."""

import json
import re
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeTuple
from torch.optim import Optimizer

from zoo.classes import class_at
from zoo.cli.complaints import in_one_sentence
from zoo.errors import DoesNotFitData, UserError, nearest
from zoo.module import ZooModule
from zoo.registry import FOLLOWS_THE_DATA, RECIPES, Recipe

# Lightning's defaults that do not suit small networks: its sanity check would log chance-level
# metrics, its summary is in our own table.
TRAINER_DEFAULTS = {
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "log_every_n_steps": 50,
}
BATCH_LIMITS = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
)
SUBCLASS_KEYS = ("optimizer", "lr_scheduler")


class Parser(LightningArgumentParser):
    """Lightning's parser; an error is one sentence that names the option and the nearest one."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise the message as a UserError."""
        raise UserError(in_one_sentence(message, self._option_string_actions)) from ex

    def format_help(self) -> str:
        """Return the help: the network, its data and its optimizer first, the trainer last.

        It leaves out the lists of all subclasses (nn.Module alone has hundreds), the options that
        the recipe stands for, and what follows from something else.
        """
        text = re.sub(r",\s+known\s+subclasses:[^()]*\)", ")", super().format_help())
        text = re.sub(r"  --\w+ CONFIG +Path to a configuration file\.\n", "", text)
        text = text.replace("Base class for all optimizers:", "optimizer:")
        text = re.sub(r"\n\(.*LRScheduler.*\):\n", "\nlr_scheduler:\n", text)
        _, description, options, trainer, *others = text.strip().split("\n\n")
        kept = [section for section in others if not section.startswith("Linked arguments")]
        usage = f"usage: {self.prog} [options]"
        hint = "Shorthands such as --lr, --pretrained and --inspect are in `fit --help`."
        return "\n\n".join([usage, description, hint, options, *kept, trainer]) + "\n"


class FitCLI(LightningCLI):
    """The parser and the objects of one training.

    Args:
        recipe: Whose classes are fixed and whose arguments are the defaults.
        argv: The command line's overrides.
        only_parse: Make neither data nor network.
    """

    def __init__(self, recipe: Recipe, argv: list[str], only_parse: bool = False) -> None:
        self.recipe = recipe
        self.only_parse = only_parse
        self.is_built_in = recipe.path is not None and recipe.path.parent == RECIPES
        super().__init__(
            model_class=_subclass_at(recipe.model["class_path"], ZooModule),
            datamodule_class=_subclass_at(recipe.data["class_path"], LightningDataModule),
            parser_class=Parser,
            parser_kwargs={
                "prog": f"fit --model {recipe.name}",
                "description": recipe.summary or recipe.name,
                "allow_abbrev": False,  # `--trainer.max_epoch` is a mistake like any other
            },
            seed_everything_default=recipe.seed_everything,
            save_config_callback=None,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=argv,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the given arguments; Lightning would warn that this process has others."""
        if not self.is_built_in:
            # The parser does not check its defaults, and a user's recipe may hold mistakes.
            settings = self._flat().items()
            own = [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in settings]
            args = own + args
        self.config = parser.parse_args(args)
        # jsonargparse makes 1.0 of 1, and Lightning a whole epoch of 1.0.
        for given in one_batch(args):
            self.config.trainer[given] = 1
        seed = int(self.config.seed_everything)
        if not 0 <= seed < 2**32:  # numpy's limits
            raise UserError(f"--seed must be between 0 and {2**32 - 1}, not {seed}.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the optimizer and the schedule, tie the network to the data, set the defaults."""
        for key, base in (("optimizer", Optimizer), ("lr_scheduler", LRSchedulerTypeTuple)):
            parser.add_subclass_arguments(
                base,
                key,
                help=f"Class of the {key}, and its arguments.",
                instantiate=False,
                fail_untyped=False,
                required=False,
                skip={"params"} if key == "optimizer" else {"optimizer"},
            )
            parser.link_arguments(key, f"model.{key}", compute_fn=plain)
        for key in FOLLOWS_THE_DATA:
            parser.link_arguments(f"data.{key}", f"model.{key}", apply_on="instantiate")
        parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint to go on from.")
        recipe, defaults = self.recipe, self._flat()
        known = [option[2:] for option in parser._option_string_actions]
        for name in defaults:
            if name not in known:
                close = nearest(name, [k for k in known if k.startswith(name.partition(".")[0])])
                raise UserError(
                    f"'{recipe.path or recipe.name}' sets {name}, which does not exist. "
                    f"Nearest: {', '.join(close) or 'nothing'}."
                )
        if self.is_built_in:
            parser.set_defaults(defaults)

    def _flat(self) -> dict[str, Any]:
        """Return the recipe's settings by option, such as `model.hidden_dim`."""
        recipe = self.recipe
        groups = {
            "trainer": {**TRAINER_DEFAULTS, **recipe.trainer},
            "model": recipe.model.get("init_args", {}),
            "data": recipe.data.get("init_args", {}),
        }
        flat = {f"{g}.{name}": value for g, args in groups.items() for name, value in args.items()}
        return flat | {key: getattr(recipe, key) for key in SUBCLASS_KEYS if getattr(recipe, key)}

    def instantiate_classes(self) -> None:
        """Make the data, then the network that follows it; the trainer comes later."""
        if self.only_parse:
            return
        try:
            self._instantiate()
        except (ValueError, RuntimeError) as error:  # torch says so of a dropout of 1.5
            raise UserError(f"The network or its data cannot be made: {error}.") from error

    def _instantiate(self) -> None:
        try:
            self.config_init = self.parser.instantiate_classes(self.config)
        except DoesNotFitData as error:
            recipes = {**error.usual, **self.recipe.model.get("init_args", {})}
            if recipes.items() >= error.usual.items():
                raise  # it is not the recipe's
            if any(self.config.model[key] != recipes[key] for key in error.usual):
                raise  # the user asked for it
            print(f"{error.notice} ({error})")
            for key, value in error.usual.items():
                self.config.model[key] = value
            self._instantiate()  # something else may not fit either
        self.datamodule = self.config_init.data
        self.model = self.config_init.model

    def make_trainer(self, callbacks: list[Callback], **options: Any) -> Trainer:
        """Make the trainer, with these callbacks besides the configured ones."""
        settings = {**self.config_init.trainer, **options}
        settings["callbacks"] = [*(self.config_init.trainer.callbacks or []), *callbacks]
        return Trainer(**settings)

    def as_recipe(self) -> dict[str, Any]:
        """Return the whole configuration as a recipe: what `--config` and `--model` read back."""
        import yaml

        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False, format="yaml"))
        for key in BATCH_LIMITS:
            settings["trainer"][key] = self.config.trainer[key]
        recipe = self.recipe
        content = {
            "name": recipe.name,
            "source": recipe.source,
            "summary": recipe.summary,
            "note": recipe.note,
            "select": recipe.select,
            "pretrained": recipe.pretrained,
            "seed_everything": settings["seed_everything"],
            "model": {"class_path": recipe.model["class_path"], "init_args": settings["model"]},
            "data": {"class_path": recipe.data["class_path"], "init_args": settings["data"]},
            **{key: settings.get(key) for key in SUBCLASS_KEYS},
            "trainer": settings["trainer"],
        }
        return {key: value for key, value in content.items() if value not in ("", None)}


def one_batch(argv: list[str]) -> list[str]:
    """Return which limits of the trainer are given as the whole number 1: one batch, not all."""
    pairs = zip(argv, [*argv[1:], ""], strict=False)
    given = dict((a.split("=", 1) if "=" in a else (a, b)) for a, b in pairs)
    return [key for key in BATCH_LIMITS if given.get(f"--trainer.{key}") == "1"]


def _subclass_at(path: str, base: type) -> type:
    found = class_at(path)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"'{path}' is no {base.__name__}.")
    return found


def plain(spec: Any) -> dict[str, Any] | None:
    """Return a parsed class path and its arguments as plain dictionaries."""
    if spec is None:
        return None
    return spec.as_dict() if hasattr(spec, "as_dict") else dict(spec)
