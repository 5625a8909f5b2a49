"""How often something is done: every so many updates, or every so much time."""

import re
from dataclasses import dataclass

from zoo.errors import UserError

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """A number of updates or a time.

    Attributes:
        steps: Updates; None if it is a time.
        seconds: Seconds; None if it is a number of updates.
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, text: str) -> "Interval":
        """Read `200` (updates), `30s`, `5min` or `1h`.

        Raises:
            UserError: If it is none of these.
        """
        found = re.fullmatch(r"([0-9]{1,9})(|\.[0-9]{1,9})(s|min|h)?", str(text).strip())
        number = float(found[1] + found[2]) if found else 0
        if not found or not number or (found[2] and not found[3]):
            raise UserError(
                f"--checkpoint_every takes a number of updates or a time, such as 200, 30s, 5min "
                f"or 1h, not '{text}'."
            )
        if not found[3]:
            return cls(steps=int(number))
        return cls(seconds=number * SECONDS[found[3]])

    def is_over(self, steps: int, seconds: float) -> bool:
        """Return whether so many updates, or so much time, are enough."""
        if self.steps is not None:
            return steps >= self.steps
        return self.seconds is not None and seconds >= self.seconds
