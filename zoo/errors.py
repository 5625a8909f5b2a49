"""The user-facing errors; most live with the data, which knows nothing of the zoo."""

from typing import Any, ClassVar

from datamodules.errors import UserError, nearest, unknown

__all__ = ["DoesNotFitData", "NotFiniteError", "UserError", "nearest", "unknown"]


class NotFiniteError(FloatingPointError):
    """A loss, a gradient or weights are infinite or no number: the training has failed."""


class DoesNotFitData(UserError):
    """An argument of a network does not fit its data: a recipe's, say, paired with other data.

    Attributes:
        notice: What to tell a user who did not ask for the argument, but took a recipe with it.
        usual: The network's arguments that fit any data, to take instead.
    """

    notice: ClassVar[str]
    usual: ClassVar[dict[str, Any]]
