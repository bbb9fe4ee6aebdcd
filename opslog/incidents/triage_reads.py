"""What the triage is given, read with a bounded number of queries: see `opslog.triage.data`.

The hourly sums carry most of it. Raw events are read once a suspicion is confirmed, in one scan of
the spike's hours and one of the hours that it is compared with, for the few names that matter.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from opslog.telemetry.change_markers import markers_between
from opslog.triage.data import (
    CELL_HOURS,
    HISTORY_HOURS,
    Actor,
    ActorCount,
    Cell,
    Change,
    Comparison,
    Detail,
    HourTotal,
    Rollups,
    SessionGrowth,
    ToolCell,
)

ACTORS = 10  # of each dimension, those with the most cost in the spike
MARKED_BEFORE = timedelta(hours=24)  # a change this long before a spike may have to do with it

CELLS = """
SELECT hour, feature, model, trigger_type, requests, failed, input_tokens, output_tokens,
    cost_usd::float8, cached_input_tokens, reasoning_tokens, input_squares, output_squares,
    cost_squares, input_buckets, output_buckets
FROM inference_hours WHERE hour >= %s AND hour < %s
"""
TOOLS = """
SELECT hour, feature, tool_name, calls, failures, retries, retry_requests, retry_cost_usd::float8,
    retry_hidden_requests, retry_hidden_cost_usd::float8
FROM tool_hours WHERE hour >= %s AND hour < %s
"""
TOTALS = """
SELECT hour, sum(requests)::bigint, sum(cost_usd)::float8
FROM inference_hours WHERE hour >= %s AND hour < %s GROUP BY hour ORDER BY hour
"""

# The columns that say who: each becomes a dimension. They are names of ours, never a user's text.
DIMENSIONS = {
    "user": "user_id",
    "agent": "agent_name",
    "work_order": "wo_id",
    "session": "session_id",
    "user_agent": "user_agent",
}
KINDS = " ".join(
    f"WHEN GROUPING({column}) = 0 THEN '{name}'" for name, column in DIMENSIONS.items()
)
# Every name of the spike with its cost, of all dimensions in one scan.
NAMED = f"""
WITH named AS (
    SELECT CASE {KINDS} END AS dimension,
        coalesce({", ".join(DIMENSIONS.values())}) AS name, count(*) AS requests,
        coalesce(sum(cost_usd), 0) AS cost_usd
    FROM inference_events
    WHERE created_at >= %(start)s AND created_at < %(until)s
        AND (%(feature)s::text IS NULL OR feature = %(feature)s)
    GROUP BY GROUPING SETS ({", ".join(f"({column})" for column in DIMENSIONS.values())})
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY cost_usd DESC, name) AS place,
        count(*) OVER (PARTITION BY dimension) AS names
    FROM named WHERE name <> ''
)
SELECT dimension, name, requests, cost_usd::float8, names FROM ranked WHERE place <= {ACTORS}
ORDER BY dimension, place
"""  # noqa: S608  (names of columns of ours)
KNOWN_BEFORE = """
SELECT %(column)s, count(*), coalesce(sum(cost_usd), 0)::float8 FROM inference_events
WHERE created_at >= %%(start)s AND created_at < %%(until)s
    AND (%%(feature)s::text IS NULL OR feature = %%(feature)s) AND %(column)s = ANY (%%(names)s)
GROUP BY 1
"""
HOW_MANY = f"""
SELECT {", ".join(f"count(DISTINCT nullif({column}, ''))" for column in DIMENSIONS.values())}
FROM inference_events
WHERE created_at >= %(start)s AND created_at < %(until)s
    AND (%(feature)s::text IS NULL OR feature = %(feature)s)
"""  # noqa: S608  (names of columns of ours)
GROWTH = """
SELECT count(*), coalesce(avg(last_tokens::float8 / first_tokens), 0)
FROM (
    SELECT (array_agg(input_tokens ORDER BY created_at))[1] AS first_tokens,
        (array_agg(input_tokens ORDER BY created_at DESC))[1] AS last_tokens
    FROM inference_events
    WHERE created_at >= %(start)s AND created_at < %(until)s AND session_id <> ''
        AND (%(feature)s::text IS NULL OR feature = %(feature)s)
    GROUP BY session_id HAVING count(*) >= 3
) sessions WHERE first_tokens > 0
"""


def rollups(until: datetime) -> Rollups:
    """Step 1. `until`: a whole hour, UTC. Three queries over the hourly sums."""
    cells_from = until - timedelta(hours=CELL_HOURS)
    return Rollups(
        until=until,
        cells=[
            Cell(*(*row[:14], tuple(row[14]), tuple(row[15])))
            for row in _rows(CELLS, cells_from, until)
        ],
        tools=[ToolCell(*row) for row in _rows(TOOLS, cells_from, until)],
        totals=[
            HourTotal(*row) for row in _rows(TOTALS, until - timedelta(hours=HISTORY_HOURS), until)
        ],
    )


def detail(comparison: Comparison) -> Detail:
    """Step 2: who caused the cost, from the raw events of the hours that are compared."""
    spike = _window(comparison.start, comparison.until, comparison.feature)
    before = _window(comparison.baseline_start, comparison.baseline_until, comparison.feature)
    found = _rows(NAMED, spike)
    known: dict[tuple[str, str], tuple[int, float]] = {}
    for dimension in dict.fromkeys(row[0] for row in found):
        names = [row[1] for row in found if row[0] == dimension]
        statement = KNOWN_BEFORE % {"column": DIMENSIONS[dimension]}
        for name, requests, cost in _rows(statement, {**before, "names": names}):
            known[dimension, name] = (requests, cost)
    names_now = {row[0]: row[4] for row in found}
    ((*names_before,),) = _rows(HOW_MANY, before)
    growth = [*_rows(GROWTH, spike)[0], *_rows(GROWTH, before)[0]]
    return Detail(
        comparison=comparison,
        actors=[
            Actor(dimension, name, requests, cost, *known.get((dimension, name), (0, 0.0)))
            for dimension, name, requests, cost, _ in found
        ],
        counts=[
            ActorCount(dimension, names_now[dimension], before)
            for dimension, before in zip(DIMENSIONS, names_before, strict=True)
            if dimension in names_now
        ],
        growth=SessionGrowth(*growth) if growth[0] else None,
    )


def changes_before(start: datetime, until: datetime) -> list[Change]:
    """The change markers that may have to do with a spike from `start` on, newest first."""
    return [
        Change(each.happened_at, each.kind, each.what, each.feature)
        for each in markers_between(start - MARKED_BEFORE, until).reverse()
    ]


def _window(start: datetime, until: datetime, feature: str | None) -> dict[str, Any]:
    return {"start": start, "until": until, "feature": feature}


def _rows(statement: str, *params: Any) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params[0] if isinstance(params[0], dict) else params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
