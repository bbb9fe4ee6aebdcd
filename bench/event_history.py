"""The event history at ten million events: every filter that /ops-logs offers, as pages.

    python -m bench.event_history                 # ten million events, some 10 GB for some minutes
    python -m bench.event_history --rows 200000   # a try
    python -m bench.event_history --insert        # only what an event costs to write

Fills the log over twelve months in bulk (no triggers, indexes made at the end), then asks for each
page through Django's whole stack, without the network, as a superuser. The CPU time of either
process is told besides: on a machine that others use it is what the figures mean.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from urllib.parse import urlencode

import psutil
import psycopg

from bench.ground import Ground, ground

BOUND_MS = 300
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
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) n) told
"""  # noqa: E501
SLICE = 1_000_000


def fill(owner: "psycopg.Connection[Any]", rows: int) -> None:
    begins = datetime.now(UTC) - timedelta(days=365)
    owner.execute("SELECT tollgate.ensure_event_partitions_v1(%s)", [begins.date()])
    owner.execute("SET session_replication_role = replica")
    owner.execute("SET maintenance_work_mem = '1GB'")
    indexes = owner.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'operations_events'"
        " AND indexname NOT LIKE '%pkey'"
    ).fetchall()
    for name, _ in indexes:
        owner.execute(f'DROP INDEX "{name}"')
    values = {"from": begins, "step": timedelta(days=365) / rows}
    for first in range(1, rows + 1, SLICE):
        owner.execute(FILL, {**values, "first": first, "last": min(rows, first + SLICE - 1)})
    for _, definition in indexes:
        owner.execute(definition.replace(" ON ONLY ", " ON "))
    owner.execute("SELECT setval('event_numbers', max(id)) FROM operations_events")
    owner.execute("VACUUM ANALYZE operations_events")
    owner.execute("CHECKPOINT")


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


def cpu(process: psutil.Process) -> float:
    """Seconds; the system counts in hundredths."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(rows: int) -> int:
    """Figures of each page; how many missed the bound."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import setup_test_environment

    setup_test_environment()
    person = User.objects.create_superuser("reader")
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    client.get("/ops-logs")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = psutil.Process(cursor.fetchone()[0])
    missed = 0
    print(
        f"{'filters':30}{'first ms':>9}{'median':>8}{'most':>8}{'CPU web':>9}{'CPU db':>8}"
        f"{'looked at':>16}{'shown':>7}"
    )
    for name, address in addresses(rows).items():
        taken, web, database = [], [], []
        for _ in range(6):
            began, before, asked = time.perf_counter(), time.process_time(), cpu(backend)
            answer = client.get(address)
            taken.append((time.perf_counter() - began) * 1000)
            web.append((time.process_time() - before) * 1000)
            database.append((cpu(backend) - asked) * 1000)
        assert answer.status_code == 200, (name, answer.status_code)
        found = answer.context.get("found")
        looked = f"{found.looked_at:,}{' short' * found.short}" if found else ""
        shown = len(found.events) if found else 1
        late = max(taken[1:]) > BOUND_MS
        missed += late
        print(
            f"{name:30}{taken[0]:9.0f}{median(taken[1:]):8.0f}{max(taken[1:]):8.0f}"
            f"{median(web[1:]):9.0f}{sum(database[1:]) / 5:8.0f}"
            f"{looked:>16}{shown:7}{'  MISSED' if late else ''}",
            flush=True,
        )
    return missed


OLD = (
    "(kind, id DESC)",
    "(owner_type, owner_id, id DESC)",
    "(actor, id DESC)",
)
WORDS = "USING gin (to_tsvector('simple', message || ' ' || meta::text))"
WRITE = """
INSERT INTO operations_events (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
SELECT 'WORK_ORDER_START', 'agent-' || n % 1000 || ' started', 'work_order', 'wo-' || n % 1000, 'Title',
    'svc', jsonb_build_object('woId', 'wo-' || n % 1000, 'woTitle', 'Title', 'agentName',
    'agent-' || n % 1000, 'agentKnown', true, 'runId', md5(random()::text)::uuid, 'sourceIp',
    '10.0.0.1', 'estimatedUsd', '0.05', 'tokenName', 'nightly'), md5(random()::text)
FROM generate_series(1, 20000) n
"""  # noqa: E501


def insert(on: Ground) -> None:
    """CPU of the database for one more event, on a log of 200,000, with three sets of indexes."""
    from config.run.scratch import scratch_database

    print(f"{'indexes':44}{'CPU microseconds an event, median of 7 x 20,000':>12}")
    with ExitStack() as stack:
        old, new, words = (stack.enter_context(scratch_database(on.template)) for _ in range(3))
        names = {"by id (as before)": old, "by time, agent, request": new,
                 "the same, and words (GIN)": words}  # fmt: skip
        taken: dict[str, list[float]] = {name: [] for name in names}
        for name, database in names.items():
            with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
                if name.startswith("by id"):
                    for (index,) in owner.execute(
                        "SELECT indexname FROM pg_indexes WHERE tablename ="
                        " 'operations_events' AND indexname LIKE 'operations_events_by%'"
                    ).fetchall():
                        owner.execute(f"DROP INDEX {index}")
                    for columns in OLD:
                        owner.execute(f"CREATE INDEX ON operations_events {columns}")
                elif "words" in name:
                    owner.execute(f"CREATE INDEX ON operations_events {WORDS}")
                for _ in range(10):
                    owner.execute(WRITE)
        for _ in range(7):
            for name, database in names.items():
                with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
                    backend = psutil.Process(owner.info.backend_pid)
                    began = cpu(backend)
                    owner.execute(WRITE)
                    taken[name].append((cpu(backend) - began) / 20_000 * 1e6)
        for name, each in taken.items():
            print(f"{name:44}{median(each):12.1f}   ({min(each):.1f} to {max(each):.1f})")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.event_history", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--insert", action="store_true", help="only what an event costs to write")
    given = parser.parse_args()
    os.environ["LOG_LEVEL"] = "WARNING"
    with ground() as on:
        import django

        os.environ["DATABASE_URL"] = on.app_url(on.template)
        if given.insert:
            insert(on)
            return 0
        began = time.monotonic()
        with psycopg.connect(on.superuser_url(on.template), autocommit=True) as owner:
            fill(owner, given.rows)
            size = owner.execute(
                "SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) FROM"
                " pg_partition_tree('operations_events')"
            ).fetchone()
        assert size is not None
        print(f"{given.rows:,} events, {size[0]}, in {time.monotonic() - began:.0f} s;"
              f" load {os.getloadavg()[0]:.1f}")  # fmt: skip
        django.setup()
        from django.db import connections

        connections["default"].settings_dict["NAME"] = on.template
        missed = measure(given.rows)
        print(f"load {os.getloadavg()[0]:.1f} at the end; {missed} over {BOUND_MS} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
