"""Which environment the database belongs to. A process of another one does not use it.

Production's work on a test's database, or the other way round, is admitted against the wrong limits
and spends real money. So the stamp is read on every new connection, before anything else is: a
database can be exchanged behind its address while a process runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
from django.conf import settings
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from budgets.models import Deployment
from opslog.database import authority
from opslog.exceptions import WrongDatabase

STAMP = "SELECT environment FROM public.deployment"

_any = ContextVar("any environment", default=False)


@contextmanager
def any_environment() -> Iterator[None]:
    """For what reads or changes the stamp itself: connections made in here are not refused."""
    token = _any.set(True)
    try:
        yield
    finally:
        _any.reset(token)


def stamped_environment() -> str:
    """What the database was stamped with when it was first migrated."""
    row = Deployment.objects.first()
    return row.environment if row else ""


def environment_problem() -> str:
    """What is wrong with ENVIRONMENT; empty when nothing is, or when nothing is stamped yet."""
    try:
        with any_environment():
            return problem_with(stamped_environment())
    except DatabaseError:  # not migrated yet, or away
        return ""


def problem_with(stamped: str) -> str:
    if stamped in ("", settings.TOLLGATE_ENVIRONMENT):
        return ""
    return f"ENVIRONMENT is {settings.TOLLGATE_ENVIRONMENT}, and this database is {stamped}'s."


def watch_connections() -> None:
    connection_created.connect(refuse_another, dispatch_uid="budgets.environment")


def refuse_another(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Raises WrongDatabase, and leaves no connection, where the database is another one's."""
    if _any.get():
        return
    raw: psycopg.Connection[Any] = connection.connection
    seconds = settings.TOLLGATE_DATABASE_TIMEOUT
    try:
        with authority.watchdog.watching(raw.pgconn.socket, seconds), psycopg.Cursor(raw) as cursor:
            row = cursor.execute(STAMP).fetchone()
    except psycopg.errors.UndefinedTable:  # not migrated yet
        return
    except psycopg.Error:
        connection.close()
        raise
    if problem := problem_with(row[0] if row else ""):
        connection.close()
        raise WrongDatabase(problem)


async def refuse_another_on_loop(raw: "psycopg.AsyncConnection[Any]") -> None:
    """The same for a connection of an event loop. Whoever opened it closes it."""
    try:
        row = await (await raw.execute(STAMP)).fetchone()
    except psycopg.errors.UndefinedTable:  # not migrated yet
        return
    if problem := problem_with(row[0] if row else ""):
        raise WrongDatabase(problem)
