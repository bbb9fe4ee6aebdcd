"""The last 24 complete hours of telemetry against the 24 before: the signs of a cost spike."""

from dataclasses import dataclass
from decimal import Decimal

from opslog.database import query

HIDDEN = ("undo", "retry", "auto_save")
MODELS = """
SELECT d.newer, coalesce(sum(h.cost_usd), 0), coalesce(sum(h.requests), 0),
    coalesce(sum(h.requests - h.unpriced), 0),
    coalesce(sum(h.requests) FILTER (WHERE h.trigger_type = ANY (%(hidden)s)), 0),
    coalesce(sum(h.input_tokens), 0), coalesce(sum(h.output_tokens), 0)
FROM (VALUES (true), (false)) d (newer)
LEFT JOIN inference_hours h ON h.hour >= date_trunc('hour', tollgate.now(), 'UTC')
        - CASE WHEN d.newer THEN interval '24 hours' ELSE interval '48 hours' END
    AND h.hour < date_trunc('hour', tollgate.now(), 'UTC')
        - CASE WHEN d.newer THEN interval '0' ELSE interval '24 hours' END
GROUP BY d.newer ORDER BY d.newer DESC
"""
TOOLS = """
SELECT tool_name, sum(calls), sum(failures), sum(retries), sum(retry_cost_usd) FROM tool_hours
WHERE hour >= date_trunc('hour', tollgate.now(), 'UTC') - interval '24 hours'
    AND hour < date_trunc('hour', tollgate.now(), 'UTC')
GROUP BY tool_name HAVING sum(failures) > 0 ORDER BY sum(failures) DESC, tool_name LIMIT 5
"""
FEATURES = """
SELECT feature, sum(cost_usd), sum(requests) FROM inference_hours
WHERE hour >= date_trunc('hour', tollgate.now(), 'UTC') - interval '24 hours'
    AND hour < date_trunc('hour', tollgate.now(), 'UTC')
GROUP BY feature ORDER BY 2 DESC, 1 LIMIT 5
"""


@dataclass(frozen=True, slots=True)
class Sign:
    """One figure, now and before; None: not known. `usd`: it is money. `change` is a share of what
    was before."""

    name: str
    now: Decimal | None
    before: Decimal | None
    usd: bool = False
    ratio: bool = False

    @property
    def change(self) -> Decimal | None:
        if self.now is None or not self.before:
            return None
        return (self.now - self.before) / self.before


@dataclass(frozen=True, slots=True)
class Signs:
    """`features`: name, $, requests. `tools`: name, calls, failures, retries, $ of retries."""

    signs: list[Sign]
    features: list[tuple[str, Decimal, int]]
    tools: list[tuple[str, int, int, int, Decimal]]

    @property
    def is_empty(self) -> bool:
        return not any(sign.now or sign.before for sign in self.signs)


def read() -> Signs:
    models = query.rows(MODELS, {"hidden": list(HIDDEN)})
    now, before = (tuple(map(Decimal, row[1:])) for row in models)
    return Signs(signs_of(now, before), query.rows(FEATURES), query.rows(TOOLS))


def signs_of(now: tuple[Decimal, ...], before: tuple[Decimal, ...]) -> list[Sign]:
    """From (cost, requests, those with a known cost, hidden ones, input tokens, output tokens) of
    both days."""

    def each(values: tuple[Decimal, ...], number: int) -> Decimal:
        return values[number] / values[1] if values[1] else Decimal(0)

    def priced(values: tuple[Decimal, ...]) -> Decimal | None:
        return values[0] / values[2] if values[2] else None

    return [
        Sign("Cost", now[0], before[0], usd=True),
        Sign("Requests", now[1], before[1]),
        Sign("Cost of a request", priced(now), priced(before), usd=True),
        Sign(
            "Undo, retry and auto-save, of all requests", each(now, 3), each(before, 3), ratio=True
        ),
        Sign("Input tokens of a request", each(now, 4), each(before, 4)),
        Sign("Output tokens of a request", each(now, 5), each(before, 5)),
    ]
