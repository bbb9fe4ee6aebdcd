"""System checks of the log."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.db import DatabaseError, connections

from opslog.database import exposure, routines
from opslog.exceptions import WrongDatabase

TOO_LONG_SECONDS = 300  # as in the alert on tollgate_unsealed_age_seconds
SEALS = """
SELECT EXISTS (SELECT FROM public.seals),
    coalesce(extract(epoch FROM now() - tollgate.oldest_unsealed_v1()), 0)
"""
OWNS_THE_LOG = """
SELECT pg_has_role(current_user, relowner, 'MEMBER')
FROM pg_class WHERE oid = to_regclass('operations_events')
"""


@register("database")
def two_roles(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Who owns the log, or is a member of the owner, or a superuser, can rewrite it: say so."""
    if not databases or "default" not in databases:
        return []
    with connections["default"].cursor() as cursor:
        cursor.execute(OWNS_THE_LOG)
        row = cursor.fetchone()
    if row is None or not row[0]:  # no table: before the first migration
        return []
    return [
        Info(
            "The application's role owns the event log.",
            hint="The log is then protected against mistakes, not against the owner's intent. "
            "Let another role own the tables: TOLLGATE_OWNER_DATABASE_URL.",
            id="opslog.I001",
        )
    ]


@register("database")
def routines_are_this_release(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """What decides in the database is what this copy of Tollgate has in its files."""
    if not databases or "default" not in databases:
        return []
    if not routines.tables_are_there("default"):
        return []  # `migrate` says so, and runs the same checks before it has run
    if problem := routines.problem():
        return [Error(f"In the database, {problem}.", id="opslog.E001")]
    if routines.altered():
        return [
            Error(
                "Stored routines or triggers are not as they were installed.",
                hint="Somebody changed them by hand. manage.py migrate --database owner installs "
                "them anew; look first who had the owner's role.",
                id="opslog.E002",
            )
        ]
    return []


@register("database")
def session_settings_are_in_force(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """A pooler passes none of them on. Without a lock_timeout one stuck row holds everything up."""
    if not databases or "default" not in databases:
        return []
    missing = []
    with connections["default"].cursor() as cursor:
        for name, value in settings.TOLLGATE_SESSION_SETTINGS.items():
            cursor.execute("SELECT current_setting(%s)", [name])
            if cursor.fetchone()[0] != value:
                missing.append(f"{name} = '{value}'")
    if not missing:
        return []
    return [
        Error(
            f"Not in force in the database's sessions: {', '.join(missing)}.",
            hint="manage.py migrate --database owner with PGBOUNCER=1 sets them on the database, "
            "where its role owns that; else ALTER ROLE … SET. Then RECONNECT in PgBouncer.",
            id="opslog.E003",
        )
    ]


@register("database")
def the_application_has_no_more_than_it_needs(
    databases: Any = None, **kwargs: Any
) -> list[CheckMessage]:
    """Where two roles are kept apart: what the application's has beyond its own."""
    if not databases or "default" not in databases or two_roles(databases):
        return []
    if not routines.tables_are_there("default") or routines.problem():
        return []
    return [
        Warning(
            f"Of the application's database role: {line}.",
            hint="manage.py migrate --database owner grants and revokes anew; a role's attributes "
            "and memberships are for a superuser to take back.",
            id="opslog.W001",
        )
        for line in exposure.problems()
    ]


@register(deploy=True)
def the_log_is_sealed(**kwargs: Any) -> list[CheckMessage]:
    """With a PostgreSQL of one's own the key has to be given. Another host may have it: then there
    are seals."""
    hint = "Run manage.py seal_events --forever with SEAL_KEY_FILE or SEAL_KEY: see "
    hint += "docs/tamper-evidence.md."
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute(SEALS)
            sealed, waiting = cursor.fetchone()
    except (DatabaseError, WrongDatabase):  # away, not migrated yet, or another environment's
        sealed, waiting = False, 0
    has_key = settings.TOLLGATE_SEAL_SECRET_KEY or settings.TOLLGATE_SEAL_KEY_FILE
    if not sealed and not has_key:
        return [Warning("Nobody seals the log: there is no key.", hint=hint, id="opslog.W002")]
    if waiting > TOO_LONG_SECONDS:
        line = f"Events have waited {waiting / 60:,.0f} minutes for a seal."
        return [Warning(line, hint=hint, id="opslog.W002")]
    return []
