"""Reading the records of a period, in a fixed number of statements whatever there is.

One pass over the runs sums what can be summed, first by agent and hour, then, over those few
thousand rows, by whatever is shown. Percentiles and tokens are those of the last SAMPLE settled
runs: tokens stand in JSON, and to open a hundred thousand of those takes longer than everything
else. The runs themselves are read only for days on which the order of asks matters, and their
columns come packed in one string each (8 bytes a value, as PostgreSQL sends a bigint or a
timestamp): as rows, converting them would take as long again. Moments are microseconds since 2000,
dollars nano-dollars.
"""

import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from budgets.evidence.whatif import DAY, Caps, Columns, Period, Retried, nanos, periods_of
from budgets.evidence.whatif import EPOCH as FIRST_DAY
from opslog.database import query
from opslog.pricing.usage import TOKENS, UNITS

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
EVENTS_READ: Final = 20_000
SAMPLE: Final = 5_000
SPECIAL: Final = ["serviceTier", "toolCalls", *(TOKENS[name] for name in UNITS)]
CAP_REASONS: Final = ("runs_per_day", "usd_per_day")
EXTENDED: Final = "RUN_EXTENDED"

# An event that covers many refusals by a cap lists each ask.
EVENTS = """
SELECT (extract(epoch FROM coalesce((a.ask->>'at')::timestamptz, e.created_at)
        - '2000-01-01 00:00:00+00') * 1000000)::bigint AS at, e.kind,
    e.meta->>'reason', one->>'askKey', one->>'estimatedUsd',
    one->>'additionalUsd', e.meta->>'runId', one->>'runsToday', one->>'usdToday',
    CASE WHEN a.ask IS NULL THEN tollgate.times(e.meta) ELSE 1 END
FROM (
    SELECT created_at, kind, meta FROM operations_events
    WHERE owner_type = 'work_order' AND owner_id = %(wo)s
        AND kind IN ('RATE_LIMIT_429', 'START_REFUSED', 'RUN_EXTENDED')
        AND created_at >= %(since)s AND created_at < %(now)s
    ORDER BY created_at DESC LIMIT %(most)s) e
LEFT JOIN LATERAL jsonb_array_elements(
    CASE jsonb_typeof(e.meta->'asks') WHEN 'array' THEN e.meta->'asks' ELSE '[]' END
) a (ask) ON true
CROSS JOIN LATERAL coalesce(a.ask, e.meta) one
ORDER BY at DESC LIMIT %(most)s
"""
# A run that was asked for before stands in a group of its own: to collect such runs in an
# aggregate made the planner sort all rows, and took twice as long.
SUMMARY = """
WITH fine AS MATERIALIZED (
    SELECT agent_name AS agent, date_bin('1 hour', started_at, 'epoch') AS hour,
        refused.key, min(started_at) AS started_at,
        count(*) AS runs, count(*) FILTER (WHERE status <> 'running') AS ended,
        count(*) FILTER (WHERE status = 'error') AS errors,
        count(*) FILTER (WHERE NOT agent_known) AS unknown,
        sum(cost) AS cost, max(cost) AS max_cost, sum(greatest(cost, reserved_usd)) AS most,
        sum(reserved_usd) FILTER (WHERE status = 'running') AS held
    FROM work_order_runs
    LEFT JOIN unnest(%(keys)s::text[]) AS refused (key) ON refused.key = idempotency_key
    WHERE wo_id = %(wo)s AND started_at >= %(since)s AND started_at < %(now)s
    GROUP BY 1, 2, 3
)
SELECT
    (SELECT json_agg(t)::text FROM (
        SELECT (hour AT TIME ZONE 'UTC')::date AS day, sum(runs) AS runs, sum(ended) AS ended,
            sum(errors) AS errors, coalesce(sum(cost), 0) AS cost, max(max_cost) AS max_cost,
            coalesce(sum(held), 0) AS held, sum(most) AS most
        FROM fine GROUP BY 1) t),
    (SELECT json_agg(t)::text FROM (
        SELECT agent, sum(runs) AS runs, sum(errors) AS errors, sum(unknown) AS unknown,
            coalesce(sum(cost), 0) AS cost FROM fine GROUP BY 1) t),
    (SELECT json_agg(t)::text FROM (
        SELECT DISTINCT ON (agent) agent, hour, sum(runs) AS runs FROM fine GROUP BY 1, 2
        HAVING sum(runs) > %(burst)s ORDER BY agent, sum(runs) DESC, hour DESC) t),
    (SELECT json_agg(json_build_array(started_at, key, coalesce(cost, held)))::text
     FROM fine WHERE key IS NOT NULL)
"""
RECENT = """
WITH recent AS MATERIALIZED (
    SELECT cost, reserved_usd, cost::float8 / nullif(reserved_usd, 0)::float8 AS ratio, usage,
        started_at, cost_note <> 'unpriced' AS priced
    FROM work_order_runs
    WHERE wo_id = %(wo)s AND status IN ('success', 'error')
        AND finished_at >= %(since)s AND finished_at < %(now)s
    ORDER BY finished_at DESC LIMIT %(most)s
), reported AS (
    SELECT cost, reserved_usd FROM recent
    UNION ALL
    SELECT cost, reserved_usd FROM work_order_runs
    WHERE wo_id = %(wo)s AND status = 'cancelled' AND started_at < %(now)s
        AND started_at >= coalesce((SELECT min(started_at) FROM recent), %(since)s)
)
SELECT
    (SELECT json_agg(t)::text FROM (
        SELECT (SELECT count(*) FROM recent) AS settled, count(*) AS sampled,
            coalesce(sum(cost), 0) AS cost, coalesce(sum(reserved_usd), 0) AS reserved,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY cost::float8) AS p95,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY ratio) AS ratio_p50,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY ratio) AS ratio_p95
        FROM recent WHERE priced) t),
    (SELECT json_agg(t)::text FROM (
        SELECT count(*) FILTER (WHERE cost > reserved_usd) AS overruns,
            coalesce(sum(cost - reserved_usd) FILTER (WHERE cost > reserved_usd), 0) AS overrun
        FROM reported) t),
    (SELECT json_agg(t)::text FROM (
        SELECT usage->>'model' AS model,
            width_bucket((usage->'inputTokens')::integer, %(thresholds)s::integer[]) AS band,
            count(*) AS runs, sum(cost) AS cost, sum((usage->'inputTokens')::bigint) AS input,
            sum((usage->'outputTokens')::bigint) AS output,
            sum((usage->'cachedInputTokens')::bigint) AS cached,
            sum(coalesce((usage->'cacheWriteTokens')::bigint, 0)) AS written,
            sum(coalesce((usage->'cacheWrite1hTokens')::bigint, 0)) AS written_1h,
            sum((usage->'reasoningTokens')::bigint) AS reasoning
        -- What other models ask for other terms, sound, pictures and tools is no matter of tokens.
        FROM recent WHERE usage IS NOT NULL AND NOT usage ?| %(special)s::text[]
        GROUP BY 1, 2) t)
"""
RUNS = """
SELECT asked.day::text, string_agg(timestamptz_send(started_at), ''),
    string_agg(timestamptz_send(coalesce(finished_at, 'infinity')), ''),
    string_agg(int8send((reserved_usd * 1000000000)::bigint), ''),
    string_agg(int8send((coalesce(cost, reserved_usd) * 1000000000)::bigint), ''),
    array_agg(started_at) FILTER (WHERE id = ANY (%(extended)s::uuid[])),
    array_agg(id::text) FILTER (WHERE id = ANY (%(extended)s::uuid[]))
FROM (SELECT id, day, started_at, finished_at, reserved_usd, cost FROM work_order_runs
      WHERE wo_id = %(wo)s AND started_at >= %(since)s AND started_at < %(now)s
        AND day = ANY (%(days)s::date[])
      ORDER BY day, started_at) asked
GROUP BY asked.day
"""
CAPS = """
SELECT 'base', applied_at, NULL, NULL, old_runs_per_day, old_usd_per_day,
    new_runs_per_day, new_usd_per_day
FROM cap_changes WHERE wo_id = %(wo)s AND applied_at >= %(since)s AND applied_at < %(now)s
UNION ALL
SELECT 'grant', starts_at, ends_at, measure, NULL, NULL, NULL, value
FROM cap_grants WHERE wo_id = %(wo)s AND ends_at > %(since)s AND starts_at < %(now)s
    AND measure IN ('runs_per_day', 'usd_per_day')
ORDER BY 2
"""


def micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def day_of(at: int) -> date:
    return FIRST_DAY + timedelta(days=at // DAY)


def moment(at: int) -> datetime:
    return EPOCH + at * MICROSECOND


class Event(NamedTuple):
    """A refusal, or an extension that was granted: what was asked for, and what was used then."""

    at: int
    kind: str
    reason: str
    key: str
    estimate: int
    run_id: str
    runs_then: int
    used_then: int
    times: int = 1

    @property
    def is_attempt(self) -> bool:
        """A start that was refused for a cap. (A refused extension names its run.)"""
        return self.reason in CAP_REASONS and not self.run_id


@dataclass(frozen=True, slots=True)
class Summary:
    """Sums over the runs of the period: by day, by agent, and the hour of an agent's burst."""

    days: Mapping[date, Mapping[str, Any]]
    agents: Sequence[Mapping[str, Any]]
    bursts: Sequence[Mapping[str, Any]]
    retried: Sequence[Retried]

    def total(self, column: str) -> Any:
        return sum(day[column] for day in self.days.values())


@dataclass(frozen=True, slots=True)
class Recent:
    """Of the last SAMPLE settled runs: percentiles and sums of those whose cost is known, and their
    tokens by model; and the overruns of these runs and of those cancelled since the first of them.
    Percentiles are interpolated, as on all pages."""

    figures: Mapping[str, Any]
    tokens: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CapHistory:
    """Base caps over time, oldest first, and grants as (`runs` or `usd`, from, until, value)."""

    base: tuple[Period, ...]
    grants: tuple[tuple[str, int, int, int], ...]

    def periods(self) -> tuple[Period, ...]:
        return periods_of(self.base, self.grants)

    def periods_under(self, caps: Caps) -> tuple[Period, ...]:
        """The same grants over other base caps, which were in force all the time."""
        return periods_of([Period(self.base[0].since, caps)], self.grants)


@dataclass(frozen=True, slots=True)
class Window:
    """Which records: of a work order, from `since` to before `now`."""

    wo: str
    since: datetime
    now: datetime

    def parameters(self, **more: Any) -> dict[str, Any]:
        return {"wo": self.wo, "since": self.since, "now": self.now, **more}


def read_events(window: Window) -> list[Event]:
    """The last EVENTS_READ refusals and extensions, oldest first."""
    rows = query.rows(EVENTS, window.parameters(most=EVENTS_READ))
    return [
        Event(
            at,
            kind,
            reason or kind,
            key or "",
            nanos(Decimal(estimated or added or 0)),
            run or "",
            int(runs or 0),
            nanos(Decimal(used or 0)),
            times,
        )
        for at, kind, reason, key, estimated, added, run, runs, used, times in reversed(rows)
    ]


def read_summary(window: Window, *, keys: Sequence[str], burst: int) -> Summary:
    """`keys` are those to look for; more than `burst` runs of an agent in an hour are listed."""
    days, agents, bursts, retried = _told(SUMMARY, window.parameters(keys=list(keys), burst=burst))
    return Summary(
        {date.fromisoformat(each["day"]): each for each in days},
        agents,
        bursts,
        sorted(
            Retried(micros(datetime.fromisoformat(at)), key, nanos(Decimal(cost)))
            for at, key, cost in retried
        ),
    )


def read_recent(window: Window, *, thresholds: Sequence[int]) -> Recent:
    """`thresholds` of input tokens part the bands of the tokens."""
    figures, overruns, tokens = _told(
        RECENT, window.parameters(most=SAMPLE, thresholds=list(thresholds), special=SPECIAL)
    )
    return Recent({**figures[0], **overruns[0]}, tokens)


def read_runs(
    window: Window, days: Sequence[date], extensions: Sequence[Event]
) -> dict[date, Columns]:
    """The runs of these days, with the extensions of theirs among those given."""
    if not days:
        return {}
    granted: dict[str, list[tuple[int, int]]] = {}
    for event in extensions:
        granted.setdefault(event.run_id, []).append((event.at, event.estimate))
    rows = query.rows(RUNS, window.parameters(days=list(days), extended=list(granted)))
    found = {}
    for day, starts, ends, reserved, costs, times, ids in rows:
        started = _unpacked(starts)
        places = {at: place for place, at in enumerate(started)} if ids else {}
        found[date.fromisoformat(day)] = Columns(
            started,
            _unpacked(ends),
            _unpacked(reserved),
            _unpacked(costs),
            {
                places[micros(at)]: granted[run]
                for at, run in zip(times or (), ids or (), strict=True)
            },
        )
    return {day: found.get(day, Columns((), (), (), ())) for day in days}


def read_caps(window: Window, now_in_force: Caps) -> CapHistory:
    """`now_in_force` are the base caps of now: those of all the time where nothing changed."""
    rows = query.rows(CAPS, window.parameters())
    changes = [row for row in rows if row[0] == "base"]
    first = Caps(changes[0][4], nanos(changes[0][5])) if changes else now_in_force
    base = [Period(micros(window.since), first)]
    base += [Period(micros(row[1]), Caps(row[6], nanos(row[7]))) for row in changes]
    grants = tuple(
        (
            "runs" if measure == "runs_per_day" else "usd",
            micros(since),
            micros(until),
            int(value) if measure == "runs_per_day" else nanos(value),
        )
        for what, since, until, measure, _, _, _, value in rows
        if what == "grant"
    )
    return CapHistory(tuple(base), grants)


def _told(sql: str, parameters: dict[str, Any]) -> list[list[Any]]:
    """The columns of one row, each a JSON list as text: psycopg would read its money as float."""
    parts = query.one(sql, parameters)
    return [json.loads(part, parse_float=Decimal) if part else [] for part in parts]


def _unpacked(packed: bytes | None) -> Sequence[int]:
    column = array("q")
    column.frombytes(packed or b"")
    if sys.byteorder == "little":
        column.byteswap()
    return column.tolist()
