"""Privileges of the application's role, granted by the owner after each migration.

The owner migrates; the application reads and writes rows, and on append-only tables it reads and
inserts. Nobody but the owner may TRUNCATE. With one role for both there is nothing to grant.
"""

from django.conf import settings
from django.db import connections

APPEND_ONLY_TABLES: set[str] = {
    "operations_events",
    "change_markers",
    "incident_entries",
    "seals",
    "seal_members",
    "seal_keys",
    "event_tombstones",
}


def append_only(*tables: str) -> None:
    """Declare tables of an app above whose rows are never changed or removed."""
    APPEND_ONLY_TABLES.update(tables)


def grant(using: str) -> None:
    """After each migration; idempotent, and a no-op where the two roles are one."""
    app_role = settings.DATABASES["default"].get("USER")
    connection = connections[using]
    if connection.vendor != "postgresql" or not app_role:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        if cursor.fetchone()[0] == app_role:
            return
        role = connection.ops.quote_name(app_role)
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        cursor.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        )
        cursor.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
        # Ours are called by this role alone; nobody's temporary table is taken for a true one.
        cursor.execute("REVOKE ALL ON SCHEMA tollgate FROM PUBLIC")
        cursor.execute("REVOKE ALL ON ALL ROUTINES IN SCHEMA tollgate FROM PUBLIC")
        cursor.execute(f"GRANT USAGE ON SCHEMA tollgate TO {role}")
        cursor.execute(f"GRANT EXECUTE ON ALL ROUTINES IN SCHEMA tollgate TO {role}")
        cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA tollgate TO {role}")
        cursor.execute("SELECT quote_ident(current_database())")
        (database,) = cursor.fetchone()
        cursor.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {role}")
        cursor.execute(f"REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {role}")
        # Partitions are tables of their own.
        cursor.execute(
            "SELECT c.relname FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid "
            "LEFT JOIN pg_class p ON p.oid = i.inhparent "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') "
            "AND (c.relname = ANY(%s) OR p.relname = ANY(%s))",
            [list(APPEND_ONLY_TABLES)] * 2,
        )
        for (table,) in cursor.fetchall():
            name = connection.ops.quote_name(table)
            cursor.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {name} FROM {role}")
