"""What governs a work order stands on the floor above, which registers here how it is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CapsInForce:
    """The base or a live grant, whichever is higher. US dollars; `until` is the next moment at
    which a grant begins or ends, None where there is none."""

    runs_per_day: int
    usd_per_day: Decimal
    max_concurrent_runs: int
    until: datetime | None


Reader = Callable[[Sequence[str]], Mapping[str, CapsInForce]]
_readers: list[Reader] = []


def register(reader: Reader) -> None:
    _readers[:] = [reader]


def caps_in_force(ids: Sequence[str]) -> Mapping[str, CapsInForce]:
    """By id, for all of them in one query."""
    (reader,) = _readers
    return reader(ids)
