"""Packages that only some commands need: which are missing, and what installs them.

Importing it imports no torch.
"""

from importlib.util import find_spec

from zoo.errors import UserError


def require_extra(extra: str, purpose: str, *modules: str) -> None:
    """See that the packages of an extra are there before anything is begun.

    Args:
        extra: Its name in pyproject.toml.
        purpose: What it is for, as the beginning of a sentence.
        modules: What of it is imported.

    Raises:
        UserError: If one is not installed, with the command that installs it.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"{purpose} needs {', '.join(missing)}, which {verb} not installed: "
            f"pip install 'lightning-zoo[{extra}]'"
        )
