"""Which model call asked for a tool, and how often the tool was tried before. Pure.

Neither OpenTelemetry's conventions nor LiteLLM tell it, but calls that come together show it: an
agent asks a model, calls the tools that the model asked for, and asks again, all in one loop (the
spans of one parent, the calls of one trace). What came in another body is not seen.
"""

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class ModelStep:
    """A call that may ask for tools. Times are of any unit, the same for all."""

    loop: Hashable
    event_id: str
    begins: float


@dataclass(frozen=True, slots=True)
class ToolStep:
    """`reported`: earlier attempts, where the sender reports them; they are then believed."""

    loop: Hashable
    event_id: str
    tool: str
    begins: float
    ends: float
    failed: bool
    reported: int | None = None


class Askers:
    """The model calls of every loop, by when they began."""

    def __init__(self, steps: Iterable[ModelStep]) -> None:
        self._steps: dict[Hashable, list[ModelStep]] = {}
        for step in sorted(steps, key=attrgetter("begins")):
            self._steps.setdefault(step.loop, []).append(step)

    def of(self, loop: Hashable, begins: float) -> str | None:
        """The event id of the last one that began before a tool was called in that loop."""
        steps = self._steps.get(loop, [])
        before = bisect_right(steps, begins, key=attrgetter("begins"))
        return steps[before - 1].event_id if before else None


def attempts(steps: Iterable[ToolStep]) -> dict[str, int]:
    """Attempts before each call, by its event id.

    A call is another attempt where the one of the same tool and loop that ended last before it had
    failed. Calls at the same time are not attempts of each other.
    """
    found: dict[str, int] = {}
    ended: dict[Hashable, list[ToolStep]] = {}
    for step in sorted(steps, key=attrgetter("begins", "ends")):
        if step.event_id in found:  # the same one again
            continue
        before = ended.setdefault((step.loop, step.tool), [])
        place = bisect_right(before, step.begins, key=attrgetter("ends"))
        last = before[place - 1] if place else None
        inferred = found[last.event_id] + 1 if last is not None and last.failed else 0
        found[step.event_id] = inferred if step.reported is None else step.reported
        insort(before, step, key=attrgetter("ends"))
    return found
