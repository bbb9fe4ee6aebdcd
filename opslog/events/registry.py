"""Kinds of events: each has a level, which colors it, and one line that documents it.

Each floor registers its own in `ready()`; `docs/reference/events.md` is made from what is
registered. A kind is a contract: it is never renamed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a reader of the history should care. The values end the CSS classes of badges."""

    PLAIN = "calm"
    GOOD = "good"
    WARNING = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class EventKind:
    """`doc` says when one is written; `meta` what is in its `meta`, in Markdown."""

    code: str
    level: Level
    doc: str
    meta: str = ""


KINDS: dict[str, EventKind] = {}


def register(*kinds: EventKind) -> None:
    """Raises ValueError if a code was registered by another floor, or with another text."""
    for kind in kinds:
        if KINDS.setdefault(kind.code, kind) != kind:
            raise ValueError(f"{kind.code} is registered twice.")


def level_of(code: str) -> Level:
    """Plain if nobody registered it: the history may have been written by another release."""
    kind = KINDS.get(code)
    return kind.level if kind else Level.PLAIN
