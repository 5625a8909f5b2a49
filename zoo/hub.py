"""Weights on the Hugging Face Hub: names such as `hf-hub:user/name`, and their files here.

Importing it imports no torch.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import UserError
from zoo.extras import require_extra

PREFIX = "hf-hub:"
#: The files of a repository that are read; nothing else of it is.
CARD, WEIGHTS = "card.json", "weights.safetensors"


def is_hub_name(path: str | Path) -> bool:
    """Say whether a name stands for weights on the hub."""
    return str(path).startswith(PREFIX)


def download(name: str) -> Path:
    """Return the weights file of a name on the hub, with its card beside it.

    Both are of one commit. Without a network they come from the local cache.

    Args:
        name: `hf-hub:user/name`, or `hf-hub:user/name@revision`.

    Raises:
        UserError: If there is none, or neither a network nor a cached copy.
    """
    require_extra("hub", "The Hugging Face Hub", "huggingface_hub")
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    with hub_errors(repository):
        card = Path(hf_hub_download(repository, CARD, revision=revision or None))
        # The card's folder is named after its commit.
        return Path(hf_hub_download(repository, WEIGHTS, revision=card.parent.name))


@contextlib.contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn what can go wrong with the hub into one sentence."""
    from huggingface_hub import errors

    # It tells of every attempt; what came of them is told below.
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(
            f"'{repository}' is no name on the hub; it is user/name, such as {PREFIX}jane/digits."
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"'{repository}' is for those alone who asked for it: ask on "
            f"https://huggingface.co/{repository}, then `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"There is no '{repository}' on the hub, or it is private: `hf auth login` lets you "
            "see your own."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"'{repository}' on the hub has no such revision.") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"The hub cannot be reached, and '{repository}' is not in the local cache: try again "
            "with a network."
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(
            f"'{repository}' on the hub is none of this zoo's networks: {CARD} or {WEIGHTS} is "
            "missing."
        ) from error
    except errors.HfHubHTTPError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(f"The hub refused '{repository}': {reason}.") from error
    except errors.LocalTokenNotFoundError as error:
        raise UserError("The hub does not know who you are: `hf auth login`.") from error
    except Exception as error:  # of httpx or requests, as the library's version has it
        if not isinstance(error, OSError) and "Connect" not in type(error).__name__:
            raise
        raise UserError(f"The hub cannot be reached for '{repository}': {error}.") from error
    finally:
        logger.setLevel(level)
