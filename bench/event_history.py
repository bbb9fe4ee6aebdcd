"""The event log at ten million events over twelve months, and every filter of /ops-logs."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import psycopg

from bench.ground import in_bulk

FILL = """
INSERT INTO operations_events (kind, message, owner_type, owner_id, owner_label, actor, meta,
    request_id, db_user, xact, created_at)
SELECT kind,
    CASE WHEN n %% 1000003 = 77 THEN 'Looked into ticket QX-4711, a retry loop'
         ELSE agent || ' ' || lower(kind) END,
    CASE WHEN kind = 'TOKEN_CREATED' THEN 'service_token' ELSE 'work_order' END,
    CASE WHEN kind = 'TOKEN_CREATED' THEN n::text ELSE wo END, '', actor,
    jsonb_build_object('woId', wo, 'agentName', agent, 'runId', md5(n::text)::uuid, 'sourceIp',
        '10.0.0.' || n %% 250, 'estimatedUsd', '0.05'),
    CASE WHEN n %% 20 = 0 THEN '' ELSE to_hex(n / 2 * 7919 + 1099511627776) END, 'bench', n / 2,
    %(from)s::timestamptz + n * %(step)s::interval
FROM (SELECT n,
        CASE WHEN n %% 10 = 3 THEN 'hot'
             ELSE 'wo-' || ((n::bigint * 7919) %% 100000) END AS wo,
        'agent-' || (n::bigint * 104729) %% 1000 AS agent,
        'svc-' || (n::bigint * 15485863) %% 50 AS actor,
        CASE WHEN n %% 5000 = 7 THEN 'WORK_ORDER_CAP_CHANGE' WHEN n %% 100000 = 9 THEN 'TOKEN_CREATED'
             WHEN n %% 12 = 0 THEN 'RATE_LIMIT_429' WHEN n %% 2 = 0 THEN 'WORK_ORDER_START'
             ELSE 'RUN_FINISHED' END AS kind
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) n) numbered
"""  # noqa: E501
SLICE = 1_000_000


def fill(owner: "psycopg.Connection[Any]", rows: int) -> None:
    begins = datetime.now(UTC) - timedelta(days=365)
    owner.execute("SELECT tollgate.ensure_event_partitions_v1(%s)", [begins.date()])
    values = {"from": begins, "step": timedelta(days=365) / rows}
    with in_bulk(owner, "operations_events"):
        for first in range(1, rows + 1, SLICE):
            owner.execute(FILL, {**values, "first": first, "last": min(rows, first + SLICE - 1)})
        owner.execute("SELECT setval('event_numbers', max(id)) FROM operations_events")


def addresses(rows: int) -> dict[str, str]:
    """Every filter alone, with others, and what has no index; deep pages, too."""
    now = datetime.now(UTC)
    half_a_year = now - timedelta(days=180)
    day = {"since": half_a_year.date(), "until": (half_a_year + timedelta(days=1)).date()}
    deep = {"before": f"{half_a_year:%Y-%m-%dT%H:%M:%S.%f}Z/{rows // 2}"}
    cases: dict[str, dict[str, Any]] = {
        "nothing": {},
        "nothing, half a year deep": deep,
        "kind, frequent": {"kind": "WORK_ORDER_START"},
        "kind, rare": {"kind": "WORK_ORDER_CAP_CHANGE"},
        "kind, none of it": {"kind": "NO_SUCH_KIND"},
        "all refusals": {"kind": "refusals"},
        "all refusals, deep": {"kind": "refusals", **deep},
        "actor": {"actor": "svc-7"},
        "actor, unknown": {"actor": "nobody"},
        "about: type": {"owner_type": "service_token"},
        "about: work orders": {"owner_type": "work_order"},
        "about: type and id": {"owner_type": "work_order", "owner_id": "wo-7919"},
        "about: id alone": {"owner_id": "wo-7919"},
        "work order": {"work_order": "wo-7919"},
        "work order, hot": {"work_order": "hot"},
        "agent": {"agent": "agent-7"},
        "request id": {"request_id": f"{(rows // 4) * 7919 + 1099511627776:x}"},
        "a day": day,
        "the last hour": {"last": "1h"},
        "the last 31 days": {"last": "31d"},
        "kind, a day": {"kind": "WORK_ORDER_START", **day},
        "kind, actor": {"kind": "RATE_LIMIT_429", "actor": "svc-7"},
        "rare kind, hot work order": {"kind": "WORK_ORDER_CAP_CHANGE", "work_order": "hot"},
        "kind, hot work order": {"kind": "RATE_LIMIT_429", "work_order": "hot"},
        "never together": {"kind": "RATE_LIMIT_429", "work_order": "hot", "actor": "svc-8"},
        "agent, actor, kind": {"agent": "agent-7", "actor": "svc-1", "kind": "RUN_FINISHED"},
        "agent, work order": {"agent": "agent-7", "work_order": "hot"},
        "text, frequent": {"text": "agent-7"},
        "text, rare": {"text": "qx-4711"},
        "text in meta": {"text": "10.0.0.7"},
        "text, a day": {"text": "qx-4711", **day},
        "text, work order": {"text": "qx-4711", "work_order": "wo-7919"},
        "text, hot work order": {"text": "qx-4711", "work_order": "hot"},
        "text, kind, the last 31 days": {"text": "nope", "kind": "RATE_LIMIT_429", "last": "31d"},
        "everything at once": {
            "kind": "RUN_FINISHED", "actor": "svc-7", "owner_type": "work_order",
            "owner_id": "hot", "agent": "agent-7", "work_order": "hot", "text": "x", **day,
        },
    }  # fmt: skip
    found = {name: f"/ops-logs?{urlencode(query)}" for name, query in cases.items()}
    return {**found, "one event": f"/ops-logs/{rows // 2}"}
