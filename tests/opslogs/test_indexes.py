"""The indexes of the history: on every partition, and on those to come."""

from typing import Any

from django.db import connections

from opslog import tasks

NAMES = ("kind", "owner", "actor", "agent", "request", "type", "named")
WANTED = sorted(f"operations_events_by_{name}" for name in NAMES)
PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'operations_events'::regclass
"""
ATTACHED = """
SELECT p.relname, count(*) FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
JOIN pg_class p ON p.oid = h.inhparent JOIN pg_index i ON i.indexrelid = c.oid
WHERE p.relname = ANY (%s) AND i.indisvalid GROUP BY 1
"""


def owner(statement: str, *params: Any) -> list[Any]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def test_each_partition_has_each(committed_db: str) -> None:
    before = len(owner(PARTITIONS))
    assert dict(owner(ATTACHED, WANTED)) == dict.fromkeys(WANTED, before)
    owner("SELECT tollgate.ensure_event_partitions_v1(current_date - 400)")
    now = len(owner(PARTITIONS))
    assert now > before + 10
    assert dict(owner(ATTACHED, WANTED)) == dict.fromkeys(WANTED, now)


def test_the_job_makes_the_partitions_of_the_coming_months(committed_db: str) -> None:
    before = sorted(owner(PARTITIONS))
    (last,) = before[-1]
    owner(f"DROP TABLE {last}")
    assert tasks.make_partitions() == 1
    assert sorted(owner(PARTITIONS)) == before
    assert tasks.make_partitions() == 0
