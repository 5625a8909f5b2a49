"""The help of one network: its own arguments first, and no page of what all of them share."""

import inspect
from argparse import Action

from jsonargparse import DefaultHelpFormatter

from zoo.cli.request import SHORTHANDS_HELP
from zoo.running.settings import Parser


class Formatter(DefaultHelpFormatter):
    """Leaves out the lists of all subclasses: those of nn.Module alone are hundreds."""

    def _get_help_string(self, action: Action) -> str:
        text = super()._get_help_string(action)
        extra = action.extra_help() if hasattr(action, "extra_help") else ""
        return text.replace(extra, "") if extra else text


class HelpParser(Parser):
    """A parser of settings that prints those of some groups alone."""

    def help_of(self, *names: str) -> str:
        """Return the help of groups of settings, such as `model` and `data`."""
        self.formatter_class, self.usage = Formatter, "%(prog)s [options]"
        for group in self._action_groups:
            group._group_actions = [
                action
                for action in group._group_actions
                if action.dest.partition(".")[0] in names and action.metavar != "CONFIG"
            ]
        return self.format_help()


def network_help(parser: HelpParser) -> str:
    """Return every argument of a network, of how it learns and of its data."""
    groups = ("model", "learning", "data", "optimizer", "lr_scheduler", "ckpt_path")
    parts = [
        parser.help_of(*groups),
        f"shorthands (`fit --help` has them all):\n{SHORTHANDS_HELP}\n",
        _augmentations(),
        "The arguments of Lightning's Trainer: --help trainer.\n",
    ]
    return "\n".join(parts)


def _augmentations() -> str:
    """Return what `--data.augment` takes, one line each."""
    from datamodules import augment

    found = {
        name: (inspect.getdoc(kind) or "").partition("\n")[0]
        for name, kind in vars(augment).items()
        if inspect.isclass(kind) and kind.__module__ == augment.__name__ and name[0] != "_"
    }
    lines = [f"  {name:<24} {summary}" for name, summary in found.items()]
    return "augmentations (--data.augment+=datamodules.augment.NAME):\n" + "\n".join(lines) + "\n"
