"""The rollups as running sums over the hours, so that any window is summed at once."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TypeAlias

from opslog.triage.data import Rollups

HOUR = timedelta(hours=1)
Running: TypeAlias = list[float]  # [0, x0, x0 + x1, …]: one longer than there are hours


def window(sums: Running, start: int, until: int) -> float:
    """The sum over the hours [start, until), as far as there are such hours."""
    last = len(sums) - 1
    start = min(max(start, 0), last)
    return sums[min(max(until, start), last)] - sums[start]


@dataclass(slots=True)
class Flow:
    """Requests of one feature × trigger type, or of a feature × model."""

    requests: Running
    inputs: Running
    outputs: Running
    cost: Running


@dataclass(slots=True)
class Squares:
    """Sums of squares of tokens per request of one feature: how widely its requests vary."""

    inputs: Running
    outputs: Running


@dataclass(slots=True)
class ToolFlow:
    """Calls of one feature × tool."""

    calls: Running
    failures: Running
    retries: Running
    retry_requests: Running
    retry_cost: Running
    retry_hidden_requests: Running


@dataclass(slots=True)
class PriceSums:
    """Normal equations of cost = a · input + b · output over the cells of one model."""

    ii: Running
    io: Running
    oo: Running
    ic: Running
    oc: Running


@dataclass(frozen=True, slots=True)
class Panel:
    """Hours are numbered from `first`, the hour of the oldest cell; there are `hours` of them."""

    first: datetime
    hours: int
    features: tuple[str, ...]
    triggers: tuple[str, ...]
    cost: Running
    requests: Running
    history: Running = field(repr=False)  # cost, from `before` hours before `first`
    before: int
    flows: dict[tuple[str, str], Flow] = field(repr=False)  # feature, trigger type
    squares: dict[str, Squares] = field(repr=False)  # feature
    models: dict[tuple[str, str], Flow] = field(repr=False)  # feature, model
    prices: dict[str, PriceSums] = field(repr=False)  # model
    tools: dict[tuple[str, str], ToolFlow] = field(repr=False)  # feature, tool

    def until(self, hour: int) -> "Panel":
        """As it was at the beginning of that hour: nothing after it is looked at."""
        return replace(self, hours=min(hour, self.hours))

    def at(self, hour: int) -> datetime:
        return self.first + hour * HOUR

    def hour_of(self, moment: datetime) -> int:
        return int((moment - self.first) // HOUR)


def _running(values: Iterable[float]) -> Running:
    return list(accumulate(values, initial=0.0))


def panel_of(rollups: Rollups) -> Panel | None:
    """None where there is nothing before `until`."""
    cells = [cell for cell in rollups.cells if cell.hour < rollups.until]
    if not cells:
        return None
    first = min(cell.hour for cell in cells)
    hours = int((rollups.until - first) // HOUR)
    total = [0.0] * hours
    requests = [0.0] * hours
    flows: dict[tuple[str, str], list[list[float]]] = {}
    models: dict[tuple[str, str], list[list[float]]] = {}
    squares: dict[str, list[list[float]]] = {}
    prices: dict[str, list[list[float]]] = {}
    index = {first + n * HOUR: n for n in range(hours)}
    for cell in cells:
        at = index[cell.hour]
        tokens_in, tokens_out, cost = cell.input_tokens, cell.output_tokens, cell.cost_usd
        total[at] += cost
        requests[at] += cell.requests
        for group, key in (
            (flows, (cell.feature, cell.trigger_type)),
            (models, (cell.feature, cell.model)),
        ):
            lists = group.get(key)
            if lists is None:
                lists = group[key] = [[0.0] * hours for _ in range(4)]
            lists[0][at] += cell.requests
            lists[1][at] += tokens_in
            lists[2][at] += tokens_out
            lists[3][at] += cost
        lists = squares.get(cell.feature)
        if lists is None:
            lists = squares[cell.feature] = [[0.0] * hours for _ in range(2)]
        lists[0][at] += cell.input_squares
        lists[1][at] += cell.output_squares
        equations = prices.get(cell.model)
        if equations is None:
            equations = prices[cell.model] = [[0.0] * hours for _ in range(5)]
        # Every cell weighs alike per request, or the largest hours would be all that is heard.
        weight = 1.0 / max(1, cell.requests)
        equations[0][at] += weight * tokens_in * tokens_in
        equations[1][at] += weight * tokens_in * tokens_out
        equations[2][at] += weight * tokens_out * tokens_out
        equations[3][at] += weight * tokens_in * cost
        equations[4][at] += weight * tokens_out * cost
    tools: dict[tuple[str, str], list[list[float]]] = {}
    history, before = total, 0
    earliest = min((row.hour for row in rollups.totals), default=first)
    if earliest < first:
        before = int((first - earliest) // HOUR)
        history = [0.0] * before + total
        for row in rollups.totals:
            if row.hour < first:
                history[int((row.hour - earliest) // HOUR)] += row.cost_usd
    for call in rollups.tools:
        if not first <= call.hour < rollups.until:
            continue
        lists = tools.setdefault((call.feature, call.tool), [[0.0] * hours for _ in range(6)])
        at = index[call.hour]
        for n, value in enumerate(
            (
                call.calls,
                call.failures,
                call.retries,
                call.retry_requests,
                call.retry_cost_usd,
                call.retry_hidden_requests,
            )
        ):
            lists[n][at] += value
    return Panel(
        first=first,
        hours=hours,
        features=tuple(sorted({feature for feature, _ in flows})),
        triggers=tuple(sorted({trigger for _, trigger in flows})),
        cost=_running(total),
        requests=_running(requests),
        history=_running(history),
        before=before,
        flows={key: Flow(*map(_running, lists)) for key, lists in flows.items()},
        squares={key: Squares(*map(_running, lists)) for key, lists in squares.items()},
        models={key: Flow(*map(_running, lists)) for key, lists in models.items()},
        prices={key: PriceSums(*map(_running, lists)) for key, lists in prices.items()},
        tools={key: ToolFlow(*map(_running, lists)) for key, lists in tools.items()},
    )


def weighted_median(values: Iterable[tuple[float, float]]) -> float:
    """Of (value, weight); 0 where nothing weighs anything. Between two, their mean."""
    ranked = sorted(pair for pair in values if pair[1] > 0)
    if not ranked:
        return 0.0
    sums = list(accumulate(weight for _, weight in ranked))
    half = sums[-1] / 2
    at = bisect_left(sums, half)
    if sums[at] == half and at + 1 < len(ranked):
        return (ranked[at][0] + ranked[at + 1][0]) / 2
    return ranked[at][0]
