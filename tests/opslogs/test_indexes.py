"""The indexes of the history: on every partition, on those to come, and made again if cut off."""

from importlib import import_module
from typing import Any

from django.db import connections

migration: Any = import_module("opslog.migrations.0013_history_indexes")
WANTED = {f"operations_events_by_{name}" for name in migration.INDEXES}
ATTACHED = """
SELECT p.relname, count(*) FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
JOIN pg_class p ON p.oid = h.inhparent JOIN pg_index i ON i.indexrelid = c.oid
WHERE p.relname = ANY (%s) AND i.indisvalid GROUP BY 1
"""


class Editor:
    connection = connections["owner"]


def owner(statement: str, *params: Any) -> list[Any]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def everywhere() -> bool:
    partitions = len(owner(migration.PARTITIONS))
    valid = owner(
        "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indisvalid"
        " AND relname = ANY (%s)", sorted(WANTED),
    )  # fmt: skip
    return (
        dict(owner(ATTACHED, sorted(WANTED))) == dict.fromkeys(WANTED, partitions)
        and {name for (name,) in valid} == WANTED
    )


def test_each_partition_has_each(committed_db: str) -> None:
    assert everywhere()
    before = len(owner(migration.PARTITIONS))
    owner("SELECT tollgate_ensure_event_partitions(current_date - 400)")
    assert len(owner(migration.PARTITIONS)) > before + 10
    assert everywhere()


def test_what_was_replaced_is_gone(committed_db: str) -> None:
    found = owner("SELECT relname FROM pg_class WHERE relname = ANY (%s)", list(migration.REPLACED))
    assert found == []


def test_it_goes_on_where_it_was_cut_off(committed_db: str) -> None:
    """Nothing of one index; of another only the parent's and one partition's, not attached yet."""
    (partition,) = owner(migration.PARTITIONS)[0]
    owner("DROP INDEX operations_events_by_agent")
    owner("DROP INDEX operations_events_by_kind")
    columns = f"(kind, {migration.BY_TIME})"
    owner(f"CREATE INDEX operations_events_by_kind ON ONLY operations_events {columns}")
    owner(f"CREATE INDEX {partition}_by_kind ON {partition} {columns}")
    assert not everywhere()
    migration.make(None, Editor)
    assert everywhere()
    migration.make(None, Editor)
    assert everywhere()
    assert owner("SHOW lock_timeout") == [("2s",)]
