"""Who started what from which address, of late; and which agents use a work order today.

Bounded reads: of the newest events by their index, and of one work order's runs of one day.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from opslog.database import query

NEWEST = 5000  # starts that are looked at; a busy service has more in a day
ROWS = 20

STARTS = """
WITH recent AS (
    SELECT actor, meta, created_at FROM operations_events
    WHERE kind = 'WORK_ORDER_START' AND created_at > (SELECT tollgate.now()) - interval '24 hours'
    ORDER BY id DESC LIMIT %(newest)s
)
SELECT actor, coalesce(meta->>'agentName', ''), coalesce(meta->>'sourceIp', ''), count(*),
    count(DISTINCT meta->>'woId'), min(meta->>'woId'), min(created_at), max(created_at)
FROM recent WHERE %(wo)s = '' OR meta->>'woId' = %(wo)s
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT %(rows)s
"""
AGENTS = """
SELECT agent_name, bool_and(agent_known), count(*), count(*) FILTER (WHERE status = 'error'),
    coalesce(sum(coalesce(cost, reserved_usd)), 0), avg(cost), max(cost),
    count(*) FILTER (WHERE started_at > (SELECT tollgate.now()) - interval '1 hour')
FROM work_order_runs WHERE wo_id = %s AND day = %s
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Starts:
    """Starts of one actor with one agent from one address; `work_order` is one of them."""

    actor: str
    agent: str
    address: str
    times: int
    work_orders: int
    work_order: str
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent's runs of one day on one work order, in US dollars."""

    name: str
    known: bool
    runs: int
    errors: int
    usd: Decimal
    average: Decimal | None
    dearest: Decimal | None
    last_hour: int


def recent(wo_id: str = "") -> list[Starts]:
    """Of the last 24 hours, and of the newest 5,000 starts at most."""
    params: dict[str, int | str] = {"newest": NEWEST, "wo": wo_id, "rows": ROWS}
    return [Starts(*row) for row in query.rows(STARTS, params)]


def agents_of(wo_id: str, day: date) -> list[Agent]:
    return [Agent(*row) for row in query.rows(AGENTS, [wo_id, day, ROWS])]
