"""The one exception for mistakes that a user can mend, and words for its messages."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake: the message names the thing, the place and the fix.

    The command line prints the message alone and exits with status 2; in Python it is an ordinary
    exception.
    """


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known names most like a mistyped one, best first."""
    known = list(known)
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.55)
    return [by_lower[candidate] for candidate in close]


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> UserError:
    """Build the error for a name that is not among the known ones, with the nearest right ones."""
    known = sorted(known)
    close = nearest(name, known)
    if close:
        advice = f"Did you mean {' or '.join(close)}?"
    else:
        advice = f"Known: {', '.join(known)}." if len(known) <= 20 else ""
    return UserError(" ".join(filter(None, [f"There is no {kind} '{name}'.", advice, hint])))


def counted(count: int, noun: str) -> str:
    """Return `1 row` or `2,000 rows`."""
    return f"{count:,} {noun}" + "s" * (count != 1)
