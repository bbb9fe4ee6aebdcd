"""Privileges of the application's role, granted by the owner after each migration.

The owner migrates; the application reads all tables and writes rows, with the exceptions that stand
here: some tables it only adds to, from some nothing is removed, some are written by routines alone
(with the owner's rights), some by the owner alone. Nobody but the owner may TRUNCATE. With one role
for both there is nothing to grant.
"""

from django.conf import settings
from django.db import connections, transaction

APPEND_ONLY_TABLES: set[str] = {
    "operations_events",
    "change_markers",
    "incident_entries",
    "seals",
    "seal_members",
    "seal_keys",
    "event_tombstones",
}
# What would hide something if it were gone.
KEPT_TABLES: set[str] = {
    "incidents",
    "price_book_version",
    "cost_preference",
    "auth_user",
    "auth_group",
}
# Rows that a routine alone changes: it is SECURITY DEFINER, and says what it did.
ROUTINES_TABLES: set[str] = set()
# What names of permissions mean, what is migrated, and which functions the job worker calls when.
OWNERS_TABLES: set[str] = {
    "django_migrations",
    "django_content_type",
    "auth_permission",
    "django_q_schedule",
}
# The worker moves a schedule on when its job is due; a trigger keeps all else of the row.
UPDATED_BY_WORKER = frozenset({"django_q_schedule"})


def append_only(*tables: str) -> None:
    """Declare tables of an app above whose rows are never changed or removed."""
    APPEND_ONLY_TABLES.update(tables)


def kept(*tables: str) -> None:
    """Declare tables of an app above whose rows are never removed."""
    KEPT_TABLES.update(tables)


def changed_by_routines(*tables: str) -> None:
    """Declare tables of an app above whose rows the application adds and only routines change."""
    ROUTINES_TABLES.update(tables)


def owned(*tables: str) -> None:
    """Declare tables of an app above that the owner alone writes."""
    OWNERS_TABLES.update(tables)


def refused(table: str) -> tuple[str, ...]:
    """What the application's role may not do with a table, besides what is the owner's anyhow."""
    if table in OWNERS_TABLES:
        return ("INSERT", "UPDATE", "DELETE")
    if table in APPEND_ONLY_TABLES | ROUTINES_TABLES:
        return ("UPDATE", "DELETE")
    return ("DELETE",) if table in KEPT_TABLES else ()


def hold_session_settings(using: str) -> None:
    """Behind a pooler, a session's settings are the database's: the owner sets them. Where the
    database belongs to somebody else, a system check says what is missing."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT current_database(), pg_has_role(current_user, datdba, 'MEMBER')"
            " FROM pg_database WHERE datname = current_database()"
        )
        name, is_ours = cursor.fetchone()
        if settings.PGBOUNCER and is_ours:
            database = connections[using].ops.quote_name(name)
            for setting, value in settings.TOLLGATE_SESSION_SETTINGS.items():
                cursor.execute(f"ALTER DATABASE {database} SET {setting} = %s", [value])


def grant(using: str) -> None:
    """After each migration; idempotent, and a no-op where the two roles are one.

    In one transaction: at no moment does the application's role have more than it should.
    """
    app_role = settings.DATABASES["default"].get("USER")
    connection = connections[using]
    if connection.vendor != "postgresql" or not app_role:
        return
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        if cursor.fetchone()[0] == app_role:
            return
        role = connection.ops.quote_name(app_role)
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        cursor.execute(f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")
        cursor.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        )
        cursor.execute(
            f"REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA public FROM {role}"
        )
        # USAGE draws the next number; UPDATE would set it.
        cursor.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
        cursor.execute(f"REVOKE UPDATE ON ALL SEQUENCES IN SCHEMA public FROM {role}")
        # Ours are called by this role alone; nobody's temporary table is taken for a true one.
        cursor.execute("REVOKE ALL ON SCHEMA tollgate FROM PUBLIC")
        cursor.execute("REVOKE ALL ON ALL ROUTINES IN SCHEMA tollgate FROM PUBLIC")
        cursor.execute(f"GRANT USAGE ON SCHEMA tollgate TO {role}")
        cursor.execute(f"GRANT EXECUTE ON ALL ROUTINES IN SCHEMA tollgate TO {role}")
        cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA tollgate TO {role}")
        cursor.execute("SELECT quote_ident(current_database())")
        (database,) = cursor.fetchone()
        cursor.execute(f"REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC, {role}")
        # Partitions are tables of their own.
        cursor.execute(
            "SELECT c.relname, coalesce(p.relname, c.relname) FROM pg_class c "
            "LEFT JOIN pg_inherits i ON i.inhrelid = c.oid "
            "LEFT JOIN pg_class p ON p.oid = i.inhparent "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        )
        for table, parent in cursor.fetchall():
            if verbs := refused(parent):
                name = connection.ops.quote_name(table)
                cursor.execute(f"REVOKE {', '.join(verbs)} ON {name} FROM {role}")
        for table in UPDATED_BY_WORKER:
            cursor.execute(f"GRANT UPDATE ON {table} TO {role}")
