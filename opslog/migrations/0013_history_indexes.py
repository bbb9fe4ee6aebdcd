"""Indexes of the event history: by time instead of by id, and two for what had none.

The keys end in (created_at, id): so a range of time is a range of the index, and the next page is,
too. What was there by (…, id) is replaced, so that an insert writes as many entries as before, and
two more: of the agent and of the request, where there are such.

PostgreSQL makes no index on a partitioned table concurrently, so it is made in the documented
steps: an empty one on the parent, one on each partition concurrently, and those attached; with the
last the parent's is valid. Nothing is locked against writing meanwhile. Each step can be repeated:
what a run that was cut off left half made is dropped and made again. The old indexes go at the
end; that takes the table's lock for a moment, and fails after two seconds rather than to hold up
admissions. Then migrate again.
"""

from typing import Any

from django.db import migrations

BY_TIME = "created_at DESC, id DESC"
# name → (columns, predicate)
INDEXES = {
    "kind": (f"kind, {BY_TIME}", ""),
    "owner": (f"owner_type, owner_id, {BY_TIME}", ""),
    "actor": (f"actor, {BY_TIME}", ""),
    "agent": (f"(meta->>'agentName'), {BY_TIME}", "WHERE meta ? 'agentName'"),
    "request": (f"request_id, {BY_TIME}", "WHERE request_id <> ''"),
    # Neither is written by an admission: what it records is owned by the work order.
    "type": (f"owner_type, {BY_TIME}", "WHERE owner_type <> 'work_order'"),
    "named": (
        f"(meta->>'woId'), {BY_TIME}",
        "WHERE meta ? 'woId' AND owner_type <> 'work_order'",
    ),
}
REPLACED = ("operations_events_kind", "operations_events_owner", "operations_events_actor")
PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'operations_events'::regclass ORDER BY c.relname
"""
STATE = """
SELECT i.indisvalid, EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
FROM pg_index i WHERE i.indexrelid = to_regclass(%s)
"""


def make(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        for name, (columns, predicate) in INDEXES.items():
            one(cursor, f"by_{name}", f"({columns}) {predicate}")
        for name in REPLACED:
            cursor.execute(f"DROP INDEX IF EXISTS {name}")


def one(cursor: Any, name: str, definition: str) -> None:
    parent = f"operations_events_{name}"
    cursor.execute(f"CREATE INDEX IF NOT EXISTS {parent} ON ONLY operations_events {definition}")
    cursor.execute(PARTITIONS)
    for (partition,) in cursor.fetchall():
        child = f"{partition}_{name}"
        cursor.execute(STATE, [child])
        valid, attached = cursor.fetchone() or (False, False)
        if attached:
            continue
        if not valid:
            cursor.execute(f"DROP INDEX IF EXISTS {child}")
            # It waits for transactions under way, and keeps nobody waiting.
            cursor.execute("SELECT set_config('lock_timeout', '0', false)")
            try:
                cursor.execute(f"CREATE INDEX CONCURRENTLY {child} ON {partition} {definition}")
            finally:
                cursor.execute("RESET lock_timeout")
        cursor.execute(f"ALTER INDEX {parent} ATTACH PARTITION {child}")


class Migration(migrations.Migration):
    atomic = False  # nothing is made concurrently in a transaction

    dependencies = [("opslog", "0012_saved_views")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
