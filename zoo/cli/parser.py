"""LightningCLI with fixed classes, our recipes as defaults and our own words for errors."""

import re
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeTuple
from torch.optim import Optimizer

from zoo.errors import UserError, nearest
from zoo.registry import FOLLOWS_THE_DATA, Recipe, class_at

# Lightning's defaults that do not suit small networks: its sanity check would log chance-level
# metrics, its summary is in our own table.
TRAINER_DEFAULTS = {
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "log_every_n_steps": 50,
}
SUBCLASS_KEYS = ("optimizer", "lr_scheduler")


class Parser(LightningArgumentParser):
    """Lightning's parser; an error is one sentence that names the option and the nearest one."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise the message as a UserError."""
        raise UserError(self._in_one_sentence(message)) from ex

    def _in_one_sentence(self, message: str) -> str:
        unrecognized = re.search(r"[Uu]nrecognized arguments: (.*)", message)
        missing_key = re.search(r"[Kk]ey [\"'](.*?)[\"'] is not expected", message)
        if unrecognized or missing_key:
            if unrecognized:
                option = unrecognized.group(1).split()[0].partition("=")[0]
            else:
                option = f"--{missing_key.group(1)}"
            if not option.startswith("--"):
                return f"'{option}' belongs to no option."
            known = [o for o in self._option_string_actions if o.startswith("--")]
            return _no_such_option(option, known)
        invalid = re.search(r"Parser key \"(.*?)\":\s*(.*)", message, re.DOTALL)
        if invalid:
            key, problem = invalid.groups()
            return f"--{key}: {_shorten(problem)}"
        return _shorten(message)


def _no_such_option(option: str, known: list[str]) -> str:
    close = nearest(option, known)
    # `--model.width` is as likely a wrong word as a wrong spelling: show what its group has.
    group = option.partition(".")[0] + "."
    siblings = [o for o in known if o.startswith(group) and not o.endswith(".help")]
    text = f"There is no option {option}."
    if close:
        text += f" Did you mean {' or '.join(close)}?"
    elif siblings and len(siblings) < 40:
        text += f" There are {', '.join(siblings)}."
    return text + " `--help` with `--model NAME` lists them all."


def _shorten(problem: str) -> str:
    """Keep what says what was expected, and what was given."""
    given = re.search(r"Given value type: .*\n\s*Given value: (.*)", problem)
    lines = [line.strip(" -\n") for line in problem.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Given value", "Subtypes"))]
    lines = [line for line in lines if "Does not validate against any" not in line]
    text = "; ".join(dict.fromkeys(lines))[:400]
    return (
        f"{given.group(1)} does not fit: {text}" if given and given.group(1) not in text else text
    )


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
        super().__init__(
            model_class=class_at(recipe.model["class_path"]),
            datamodule_class=class_at(recipe.data["class_path"]),
            parser_class=Parser,
            parser_kwargs={"prog": f"fit --model {recipe.name}", "description": recipe.summary},
            seed_everything_default=recipe.seed_everything,
            save_config_callback=None,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=argv,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the given arguments; Lightning would warn that this process has others."""
        self.config = parser.parse_args(args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the optimizer and the schedule, tie the network to the data, set the defaults."""
        for key, base in (("optimizer", Optimizer), ("lr_scheduler", LRSchedulerTypeTuple)):
            parser.add_subclass_arguments(
                base,
                key,
                instantiate=False,
                fail_untyped=False,
                required=False,
                skip={"params"} if key == "optimizer" else {"optimizer"},
            )
            parser.link_arguments(key, f"model.{key}", compute_fn=plain)
        for key in FOLLOWS_THE_DATA:
            parser.link_arguments(f"data.{key}", f"model.{key}", apply_on="instantiate")
        parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint to go on from.")
        recipe = self.recipe
        defaults = {f"trainer.{k}": v for k, v in {**TRAINER_DEFAULTS, **recipe.trainer}.items()}
        for key in ("model", "data"):
            arguments = getattr(recipe, key).get("init_args", {})
            defaults |= {f"{key}.{name}": value for name, value in arguments.items()}
        for key in SUBCLASS_KEYS:
            if getattr(recipe, key):
                defaults[key] = getattr(recipe, key)
        try:
            parser.set_defaults(defaults)
        except (KeyError, TypeError, ValueError) as error:
            name = str(error).strip("'\"").partition('"')[2].partition('"')[0] or str(error)
            known = [o[2:] for o in parser._option_string_actions if o.startswith("--")]
            raise UserError(
                f"The settings of {recipe.path or recipe.name} do not fit: {_shorten(str(error))} "
                f"Nearest to '{name}': {', '.join(nearest(name, known)) or 'nothing'}."
            ) from error

    def instantiate_classes(self) -> None:
        """Make the data, then the network that follows it; the trainer comes later."""
        if not self.only_parse:
            self.config_init = self.parser.instantiate_classes(self.config)
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
        recipe = self.recipe
        content = {
            "name": recipe.name,
            "source": recipe.source,
            "summary": recipe.summary,
            "note": recipe.note,
            "select": recipe.select,
            "seed_everything": settings["seed_everything"],
            "model": {"class_path": recipe.model["class_path"], "init_args": settings["model"]},
            "data": {"class_path": recipe.data["class_path"], "init_args": settings["data"]},
            **{key: settings.get(key) for key in SUBCLASS_KEYS},
            "trainer": settings["trainer"],
        }
        return {key: value for key, value in content.items() if value not in ("", None)}


def plain(spec: Any) -> dict[str, Any] | None:
    """Return a parsed class path and its arguments as plain dictionaries."""
    if spec is None:
        return None
    return spec.as_dict() if hasattr(spec, "as_dict") else dict(spec)
