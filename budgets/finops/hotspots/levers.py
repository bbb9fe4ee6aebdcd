"""What can be done about a hotspot: its text, and the control of Tollgate that does it. Pure.

People keep them as lines, `text | control`; what no control does has no second part.
"""

from dataclasses import dataclass
from enum import StrEnum


class Control(StrEnum):
    """What a lever may lead to."""

    FEATURE = "feature"  # throttle, cost cap and values of a feature's control
    LIMIT = "limit"  # of the hotspot's cost dimension
    SURFACE = "surface"  # the kill switch of one
    EVERYTHING = "everything"  # the kill switch of everything
    BREAKER = "breaker"
    CAPS = "caps"  # of work orders
    BUDGET = "budget"  # the monthly one, which tells people


@dataclass(frozen=True, slots=True)
class Lever:
    """`control` None: it is done outside Tollgate."""

    text: str
    control: Control | None = None


def read(lines: str) -> list[Lever]:
    """Raises ValueError for a control that there is not."""
    return [_read(line) for line in lines.splitlines() if line.strip()]


def _read(line: str) -> Lever:
    text, bar, control = (part.strip() for part in line.rpartition("|"))
    if not bar:
        return Lever(control)
    if control not in list(Control):
        known = ", ".join(Control)
        raise ValueError(f"“{control}” is no control: after | comes one of {known}.")
    return Lever(text, Control(control))
