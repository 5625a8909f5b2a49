"""The user-facing errors; most live with the data, which knows nothing of the zoo."""

from typing import Any, ClassVar

from datamodules.errors import UserError, counted, nearest, unknown

__all__ = ["DoesNotFitData", "NotFiniteError", "UserError", "counted", "nearest", "unknown"]


class NotFiniteError(FloatingPointError):
    """A loss, a gradient or weights are infinite or no number: the training has failed."""


class DoesNotFitData(UserError):
    """A setting does not fit the data: that of a recipe, say, paired with other data.

    Attributes:
        notice: What to tell a user who did not ask for the setting, but took a recipe with it.
        fallback: Settings of `learning` that fit any data, to take instead.
    """

    notice: ClassVar[str]
    fallback: ClassVar[dict[str, Any]]
