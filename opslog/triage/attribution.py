"""Step 5: which feature, model, user, agent, work order explains the change, and is it news?

After Adtributor (Bhagwan et al., NSDI 2014). Explanatory power is the element's part of the change:
what is large explains much of any change. Surprise asks whether its share of the cost is another
than before (its term of the Jensen–Shannon divergence): what is large and always was is no news.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import log2

from opslog.triage.data import Detail
from opslog.triage.panel import Panel, window


@dataclass(frozen=True, slots=True)
class Element:
    dimension: str  # feature, model, user, agent, work_order, session, user_agent
    name: str
    usd: float
    usd_before: float  # over as many hours
    requests: float
    explains: float  # of the change; the elements of a dimension sum to 1
    surprise: float  # 0 to 1
    share: float  # of all cost of its hours
    share_before: float


def _term(share: float, mean: float) -> float:
    return share * log2(share / mean) if share > 0 else 0.0


def surprise(share: float, share_before: float) -> float:
    mean = (share + share_before) / 2
    return 0.5 * (_term(share, mean) + _term(share_before, mean))


def rank(
    dimension: str,
    rows: Iterable[tuple[str, float, float, float]],
    total: float,
    total_before: float,
) -> tuple[Element, ...]:
    """Rows: name, dollars, dollars before (over as many hours), requests. Most telling first."""
    change = total - total_before
    found = []
    for name, usd, before, requests in rows:
        share = usd / total if total > 0 else 0.0
        share_before = before / total_before if total_before > 0 else 0.0
        explains = (usd - before) / change if change else 0.0
        news = surprise(share, share_before)
        found.append(
            Element(dimension, name, usd, before, requests, explains, news, share, share_before)
        )
    return tuple(sorted(found, key=lambda e: (-e.explains * e.surprise, e.name)))


def attribution(
    panel: Panel, start: int, end: int, detail: Detail | None = None
) -> dict[str, tuple[Element, ...]]:
    """By dimension. Users, agents, work orders, sessions and user agents only where `detail` is
    given, and those against the cost of the hours that they were read for. Before: the average of
    all hours before `start`, over as many hours; of users and the like the hours that the detail
    was compared with."""
    scale = (end - start) / start if start else 0.0
    total = window(panel.cost, start, end)
    before = window(panel.cost, 0, start) * scale
    found: dict[str, tuple[Element, ...]] = {}
    for dimension, position in (("feature", 0), ("model", 1)):
        rows: dict[str, list[float]] = {}
        for key, flow in panel.models.items():
            row = rows.setdefault(key[position], [0.0, 0.0, 0.0])
            row[0] += window(flow.cost, start, end)
            row[1] += window(flow.cost, 0, start) * scale
            row[2] += window(flow.requests, start, end)
        found[dimension] = rank(
            dimension,
            ((name, row[0], row[1], row[2]) for name, row in rows.items()),
            total,
            before,
        )
    if detail is None:
        return found
    read = detail.comparison
    total = _cost_between(panel, read.start, read.until, read.feature)
    before = _cost_between(panel, read.baseline_start, read.baseline_until, read.feature)
    hours_before = (read.baseline_until - read.baseline_start).total_seconds()
    factor = (read.until - read.start).total_seconds() / hours_before if hours_before else 0.0
    for dimension in sorted({actor.dimension for actor in detail.actors}):
        found[dimension] = rank(
            dimension,
            (
                (a.name, a.cost_usd, a.baseline_cost_usd * factor, a.requests)
                for a in detail.actors
                if a.dimension == dimension and a.name
            ),
            total,
            before * factor,
        )
    return found


def _cost_between(panel: Panel, start: datetime, until: datetime, feature: str | None) -> float:
    return sum(
        window(flow.cost, panel.hour_of(start), panel.hour_of(until))
        for (name, _), flow in panel.models.items()
        if feature in (None, name)
    )
