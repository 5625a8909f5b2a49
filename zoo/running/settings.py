"""A recipe with what the user changed, checked: every setting by name, kind and range."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import LRSchedulerTypeTuple
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim import Optimizer

from datamodules.folders import expand_home
from datamodules.memory import InMemory
from zoo.errors import UserError, nearest
from zoo.learning import SETTINGS, Learning
from zoo.loading.classes import check_argument, check_spec, class_at
from zoo.module import ZooModule
from zoo.recipe import RECIPES, Recipe
from zoo.run_folder import LENGTH
from zoo.running.error_messages import in_one_sentence, why_not_made
from zoo.running.precision import AUTO, take_auto

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
# What has arguments of its class's own.
SUBCLASSES: dict[str, Any] = {"optimizer": Optimizer, "lr_scheduler": LRSchedulerTypeTuple}
# What stands beside the class of a schedule, and the parser's option for it.
SCHEDULE_OPTIONS = {
    "interval": "lr_scheduler_interval",
    "frequency": "lr_scheduler_frequency",
}


class Parser(ArgumentParser):
    """jsonargparse's parser; an error is one sentence that names the option and the nearest one."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise the message as a UserError."""
        raise UserError(in_one_sentence(message, self._option_string_actions)) from ex


class Settings:
    """The settings of one run, and the objects that they describe.

    Args:
        recipe: Whose classes are fixed and whose arguments are the defaults.
        argv: What the user changed, as on the command line: `--model.hidden_dim=256`.
        with_data: Whether the data are among them; not where they are given as an object.
        parser_class: A parser with other help, say.

    Raises:
        UserError: If a setting does not exist, or its value is of another kind.
    """

    def __init__(
        self,
        recipe: Recipe,
        argv: Sequence[str] = (),
        *,
        with_data: bool = True,
        parser_class: type[Parser] = Parser,
    ) -> None:
        self.recipe, self.with_data = recipe, with_data
        self.parser = self._build_parser(parser_class)
        self.changed = {option.partition("=")[0].lstrip("-") for option in argv}
        argv, self.precision_is_open = take_auto(argv)
        self.is_built_in = recipe.path is not None and recipe.path.parent == RECIPES
        if not self.is_built_in:
            # The parser does not check its defaults, and a user's recipe may hold mistakes.
            own, is_open = take_auto([*map(_option, self._flat().items())])
            self.precision_is_open |= is_open and "trainer.precision" not in self.changed
            argv = [*own, *argv]
        else:
            self.parser.set_defaults(self._flat())
        self.config: Namespace = self.parser.parse_args(argv)
        if root := self.config.trainer.default_root_dir:
            self.config.trainer.default_root_dir = str(expand_home(root))
        self._check_classes()
        # jsonargparse makes 1.0 of 1, and Lightning a whole epoch of 1.0.
        for given in one_batch(argv):
            self.config.trainer[given] = 1
        for name, option in SCHEDULE_OPTIONS.items():
            if self.config[option] is not None and not self.config.lr_scheduler:
                raise UserError(f"--lr_scheduler.{name} needs a schedule: --lr_scheduler NAME.")
        if not 0 <= self.config.seed_everything < 2**32:  # numpy's limits
            raise UserError(
                f"--seed must be between 0 and {2**32 - 1}, not {self.config.seed_everything}."
            )
        try:
            self._made = self.parser.instantiate_classes(self.config)
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(why_not_made(str(error))) from error

    def _build_parser(self, parser_class: type[Parser]) -> Parser:
        recipe = self.recipe
        parser = parser_class(
            prog=f"fit --model {recipe.name}",
            description=recipe.summary or recipe.name,
            allow_abbrev=False,  # `--trainer.max_epoch` is a mistake like any other
        )
        parser.add_argument(
            "--seed_everything",
            type=int,
            default=recipe.seed_everything,
            help="Seed of everything that is drawn.",
        )
        parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint to go on from.")
        options: dict[str, Any] = {"fail_untyped": False, "instantiate": False}
        network = class_at(recipe.model["class_path"], ZooModule)
        parser.add_class_arguments(network, "model", skip={"spec"}, **options)
        parser.add_class_arguments(Learning, "learning", skip=set(SUBCLASSES), **options)
        if self.with_data:
            data = class_at(recipe.data["class_path"], LightningDataModule)
            if data is InMemory:
                raise UserError(
                    "This run's data were given in memory: repeat it with zoo.fit(..., data=...)."
                )
            parser.add_class_arguments(data, "data", **options)
        for key, base in SUBCLASSES.items():
            parser.add_subclass_arguments(
                base,
                key,
                help=f"Class of the {key}, and its arguments.",
                required=False,
                skip={"params"} if key == "optimizer" else {"optimizer"},
                **options,
            )
        parser.add_argument(
            "--lr_scheduler_interval",
            type=Literal["step", "epoch"] | None,
            help="After what the schedule moves (--lr_scheduler.interval); as is usual if not set.",
        )
        parser.add_argument(
            "--lr_scheduler_frequency",
            type=int | None,
            help="After how many of them it moves (--lr_scheduler.frequency); each one if not set.",
        )
        parser.add_class_arguments(Trainer, "trainer", sub_configs=True, **options)
        known = [option[2:] for option in parser._option_string_actions]
        for name in self._flat():
            if name not in known:
                close = nearest(name, [k for k in known if k.startswith(name.partition(".")[0])])
                raise UserError(
                    f"'{recipe.path or recipe.name}' sets {name}, which does not exist. "
                    f"Nearest: {', '.join(close) or 'nothing'}."
                )
        return parser

    def _check_classes(self) -> None:
        """Refuse classes of another kind than their place expects, before any is called."""
        config = self.config.as_dict()
        for key, kind in SUBCLASSES.items():
            if config.get(key):
                check_spec(config[key], kind)
        owners = {"model": class_at(self.recipe.model["class_path"]), "trainer": Trainer}
        if self.with_data:
            owners["data"] = class_at(self.recipe.data["class_path"])
        for group, owner in owners.items():
            for name, value in (config.get(group) or {}).items():
                check_argument(value, owner, name)

    def _flat(self) -> dict[str, Any]:
        """Return the recipe's settings by option, such as `model.hidden_dim`."""
        recipe = self.recipe
        groups = {
            "trainer": {**TRAINER_DEFAULTS, **recipe.trainer},
            "model": recipe.model.get("init_args", {}),
            "learning": recipe.learning,
        }
        if self.with_data:
            groups["data"] = recipe.data.get("init_args", {})
        flat = {f"{g}.{name}": value for g, args in groups.items() for name, value in args.items()}
        flat |= {key: getattr(recipe, key) for key in SUBCLASSES if getattr(recipe, key)}
        if recipe.lr_scheduler:
            schedule = flat["lr_scheduler"] = dict(recipe.lr_scheduler)
            for name, option in SCHEDULE_OPTIONS.items():
                if (value := schedule.pop(name, None)) is not None:
                    flat[option] = value
        return flat

    # The objects

    def make_data(self) -> LightningDataModule:
        """Make the datamodule."""
        return class_at(self.recipe.data["class_path"])(**(self._made.get("data") or {}))

    @property
    def model_arguments(self) -> dict[str, Any]:
        """The arguments of the network, besides its data."""
        return dict(self._made.get("model") or {})

    @property
    def learning(self) -> Learning:
        """How the network is to learn."""
        return Learning(
            **self.config.learning.as_dict(),
            optimizer=_plain(self.config.get("optimizer")),
            lr_scheduler=_schedule(self.config),
        )

    @property
    def schedule_is_given(self) -> bool:
        """Whether the schedule is the user's own choice."""
        return not self.is_built_in or any(c.startswith("lr_scheduler") for c in self.changed)

    @property
    def lengthened(self) -> bool:
        """Whether the user changed how long the training is."""
        return any(f"trainer.{name}" in self.changed for name in LENGTH)

    @property
    def changed_learning(self) -> set[str]:
        """The names of the settings of `learning` that the user changed."""
        return {name for name in SETTINGS if f"learning.{name}" in self.changed}

    def make_trainer(self, callbacks: list[Callback], **options: Any) -> Trainer:
        """Make the trainer, with these callbacks besides the configured ones."""
        settings = {**self._made.trainer, **options}
        own = self._made.trainer.callbacks or []
        own = own if isinstance(own, list) else [own]  # --trainer.callbacks CLASS
        if settings.get("limit_val_batches") == 0:  # there is nothing to stop by
            stops = [c for c in own if isinstance(c, EarlyStopping) and c.monitor.endswith("/val")]
            own = [callback for callback in own if callback not in stops]
        settings["callbacks"] = [*own, *callbacks]
        if self._made.trainer.plugins:  # the user's take the place of ours
            settings["plugins"] = self._made.trainer.plugins
        if settings["accumulate_grad_batches"] < 1:  # Lightning divides by it
            raise UserError("--trainer.accumulate_grad_batches is 1 or more batches.")
        return Trainer(**settings)

    def take_precision(self, name: str) -> None:
        """Take the precision that `auto` stands for."""
        self.precision_is_open = False
        self.config.trainer.precision = self._made.trainer.precision = name

    def as_recipe(self) -> dict[str, Any]:
        """Return all settings as a recipe: what `--config` and `--model` read back."""
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False, format="yaml"))
        for key in BATCH_LIMITS:
            settings["trainer"][key] = self.config.trainer[key]
        if self.precision_is_open:
            settings["trainer"]["precision"] = AUTO
        recipe = self.recipe
        content = {
            "name": recipe.name,
            "source": recipe.source,
            "summary": recipe.summary,
            "note": recipe.note,
            "select": recipe.select,
            "seed_everything": settings["seed_everything"],
            "weights": recipe.weights,
            "model": {
                "class_path": recipe.model["class_path"],
                "init_args": settings.get("model") or {},
            },
            "learning": settings["learning"],
            "data": {**recipe.data, "init_args": settings.get("data") or {}},
            "optimizer": settings.get("optimizer"),
            "lr_scheduler": _schedule(settings),
            "trainer": settings["trainer"],
        }
        return {key: value for key, value in content.items() if value not in ("", None)}


def as_options(settings: dict[str, Any]) -> list[str]:
    """Return settings such as `{"model.hidden_dim": 256}` as on the command line."""
    return [_option(item) for item in settings.items()]


def _option(setting: tuple[str, Any]) -> str:
    name, value = setting
    text = str(value) if isinstance(value, (str, Path)) else json.dumps(value, default=str)
    return f"--{name}={text}"


def one_batch(argv: Sequence[str]) -> list[str]:
    """Return which limits of the trainer are given as the whole number 1: one batch, not all."""
    pairs = zip(argv, [*argv[1:], ""], strict=False)
    given = {a.partition("=")[0]: a.partition("=")[2] if "=" in a else b for a, b in pairs}
    return [key for key in BATCH_LIMITS if given.get(f"--trainer.{key}") == "1"]


def _plain(spec: Any) -> dict[str, Any] | None:
    """Return a parsed class path and its arguments as plain dictionaries."""
    if spec is None:
        return None
    return spec.as_dict() if hasattr(spec, "as_dict") else dict(spec)


def _schedule(settings: Any) -> dict[str, Any] | None:
    """Return a schedule's class path and arguments with what stands beside them."""
    spec = _plain(settings.get("lr_scheduler"))
    beside = {name: settings.get(option) for name, option in SCHEDULE_OPTIONS.items()}
    return spec and {**spec, **{k: v for k, v in beside.items() if v is not None}}
