"""What only shows while training, as one sentence with its fix."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.files import NotWrittenError
from zoo.errors import UserError

# Words of errors that only a first step or epoch brings up, and that a setting causes: an
# EarlyStopping without its metric, fewer batches than between validations, norms of one example, a
# OneCycleLR that is shorter than the training.
SETTINGS_AT_FAULT = (
    "conditioned on metric",
    "`val_check_interval`",
    "Expected more than 1 value per channel",
    "number of total steps is",
)


@contextmanager
def training_mistakes(folder: Path | None) -> Iterator[None]:
    """Turn what a setting or a full disk causes while training into one sentence.

    Args:
        folder: The run's, if it has one.

    Raises:
        UserError: In the place of an error whose cause is known.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError, MisconfigurationException) as error:
        sentence = _sentence(error, folder)
        if isinstance(error, UserError) or not sentence:
            raise
        raise UserError(sentence) from error


def _sentence(error: Exception, folder: Path | None) -> str:
    text = str(error)
    if isinstance(error, RuntimeError) and "not allow for gradient clipping" in text:
        return (
            "A fused optimizer cannot clip gradients under mixed precision; pass "
            "--optimizer.fused false, or leave --trainer.gradient_clip_val out."
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    full |= isinstance(error, RuntimeError) and "PytorchStreamWriter" in text
    if full:
        return (
            f"The disk under '{folder}' is full: {error}. What was written before is "
            "kept. Free some space, or choose another folder with --trainer.default_root_dir."
        )
    if isinstance(error, NotWrittenError):
        return (
            f"'{error.filename}' cannot be written ({error.strerror}). What was written before is "
            "kept; once it can be written again, go on with --resume."
        )
    known = isinstance(error, MisconfigurationException)
    if known or any(sign in text for sign in SETTINGS_AT_FAULT):
        return f"The training cannot run: {error}"
    return ""
