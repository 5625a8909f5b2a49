"""The user-facing errors; they live with the data, which knows nothing of the zoo."""

from datamodules.errors import UserError, nearest, unknown

__all__ = ["UserError", "nearest", "unknown"]
