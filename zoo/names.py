"""Names that become folders and files."""

import re
from typing import Any

from zoo.errors import UserError

LONGEST = 200  # bytes: file systems take 255, and suffixes come behind


def checked_name(name: Any, what: str) -> str:
    """Return a name that is one part of a path and nothing else.

    Args:
        name: Whatever stands there.
        what: Whose name it is, for the error.

    Raises:
        UserError: If it would lead out of the folder that it is made in, or is no file's name.
    """
    plain = isinstance(name, str) and name.isprintable() and name == name.strip()
    if plain and name and not name.startswith(".") and not re.search(r'[/\\:*?"<>|]', name):
        if len(name.encode()) <= LONGEST:
            return name
        raise UserError(f"The name of {what} is longer than {LONGEST} bytes: {name[:20]}...")
    raise UserError(
        f"The name of {what} becomes a folder's, and cannot be {str(name)[:100]!r}: take letters, "
        "digits, dots, hyphens and underscores, such as my_network.2."
    )
