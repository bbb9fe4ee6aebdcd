"""How long a log of a million events takes to seal and to verify, and how large the seals are."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from bench.ground import Ground
from bench.report import Row, aim, fact

# As starts are, spread over the month.
ROWS = """
INSERT INTO operations_events (kind, message, owner_type, owner_id, owner_label, actor, meta,
    request_id, db_user, xact, created_at)
SELECT 'WORK_ORDER_START', 'Started a run of agent-' || n %% 40, 'work_order', 'wo-' || n %% 1000,
    'Nightly digest', 'bench', jsonb_build_object('woId', 'wo-' || n %% 1000, 'woTitle',
    'Nightly digest', 'agentName', 'agent-' || n %% 40, 'runId', gen_random_uuid(), 'sourceIp',
    '10.0.0.' || n %% 250, 'tokenName', 'bench', 'estimatedUsd', '0.012345678'), gen_random_uuid(),
    'tollgate_app', %(transactions)s::bigint * n / %(rows)s,
    date_trunc('month', now()) + n * interval '1 month' / %(rows)s * 0.9
FROM generate_series(1, %(rows)s) n
"""
SIZES = """
SELECT (SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
        WHERE inhparent = 'operations_events'::regclass),
    pg_total_relation_size('seals'), pg_total_relation_size('seal_members'),
    (SELECT sum(pg_relation_size(i.indexrelid))::bigint FROM pg_index i JOIN pg_class c ON
        c.oid = i.indexrelid WHERE c.relname LIKE 'operations_events%xact%')
"""


@dataclass(frozen=True)
class Sealing:
    rows: int
    seals: int
    seal_seconds: float
    verify_seconds: float
    verify_cpu: float  # of this process; the rest is the database's, or waiting
    look_ms: float  # of a turn that finds ten new events behind all these
    peak_mb: float
    sizes: tuple[int, int, int, int]


def fill(on: Ground, database: str, rows: int) -> None:
    """So many events without a seal."""
    with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("SET maintenance_work_mem = '1GB'")
        owner.execute("SELECT tollgate.ensure_event_partitions_v1(current_date)")
        # Numbers of transactions that this server has given out already, in their order.
        (given,) = owner.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() or (0,)
        owner.execute(ROWS, {"rows": rows, "transactions": given - 1})
        owner.execute("SELECT setval('event_numbers', max(id)) FROM operations_events")
        owner.execute("VACUUM ANALYZE operations_events")
        owner.execute("CHECKPOINT")


def measure(on: Ground, rows: int) -> Sealing:
    from django.db import connections
    from django.test import override_settings

    from config.run.scratch import scratch_database
    from opslog.models import Seal
    from opslog.sealing import heads, sealer
    from opslog.sealing.verifier import verify

    with scratch_database(on.template) as database, TemporaryDirectory() as folder:
        fill(on, database, rows)
        files: dict[str, Any] = {
            "TOLLGATE_SEAL_SECRET_KEY": "",
            "TOLLGATE_SEAL_WEBHOOK_SECRET_URL": "",
            "TOLLGATE_SEAL_KEY_FILE": f"{folder}/key",
            "TOLLGATE_SEAL_HEADS_FILE": f"{folder}/heads",
        }
        before = connections["default"].settings_dict["NAME"]
        connections["default"].close()
        connections["default"].settings_dict["NAME"] = database
        try:
            with override_settings(**files):
                began = time.perf_counter()
                sealer.seal(seconds=3600)
                sealed = time.perf_counter() - began
                known = heads.read(Path(folder) / "heads")
                began, cpu = time.perf_counter(), time.process_time()
                report = verify(known, pinned=set(known.keys))
                verified, cpu = time.perf_counter() - began, time.process_time() - cpu
                assert not report.findings, report.findings[:3]
                assert report.sealed >= rows
                with psycopg.connect(on.app_url(database), autocommit=True) as app:
                    for _ in range(10):
                        app.execute("INSERT INTO operations_events (kind) VALUES ('NOTE')")
                began = time.perf_counter()
                assert sealer.seal().events == 10
                look = time.perf_counter() - began
                with connections["default"].cursor() as cursor:
                    cursor.execute(SIZES)
                    sizes = cursor.fetchone()
                seals = Seal.objects.count()
        finally:
            connections["default"].close()
            connections["default"].settings_dict["NAME"] = before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Sealing(rows, seals, sealed, verified, cpu, look * 1000, peak, sizes)


def rows(got: Sealing) -> list[Row]:
    log, seals, members, index = got.sizes
    return [
        fact("events", got.rows),
        fact("seals", got.seals),
        fact("seconds to seal", got.seal_seconds),
        aim("seconds to verify", got.verify_seconds, 60, at_least=False),
        fact("… CPU of the process", got.verify_cpu),
        fact("ms to seal ten new events after that", got.look_ms),
        fact("peak memory of the process, MB", got.peak_mb),
        fact("the log, MB", log / 1e6),
        fact("its index of transactions, MB", index / 1e6),
        fact("seals, MB", seals / 1e6),
        fact("lists of hashes, bytes per event", members / got.rows),
    ]
