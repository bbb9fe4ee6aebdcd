"""One round trip to the database, which is the authority, or a quick and honest failure.

The enforcement API fails closed: when PostgreSQL is unreachable, slow or refusing, the first
request learns it within TOLLGATE_DATABASE_TIMEOUT seconds and all others at once, until a probe of
ours gets an answer again. A server-side timeout alone would not do: a stopped or unreachable server
cannot keep time. So a watchdog shuts the socket of a call that is over its time.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from django.db.utils import InterfaceError, OperationalError
from psycopg import pq

from opslog.database.standby import Notices
from opslog.exceptions import Overloaded, Unavailable, WrongDatabase

log = logging.getLogger("tollgate.authority")

PROBE_SECONDS = 0.5
PROBE_LOCK_MILLISECONDS = 500
PROBE_COMMIT_SHARE = 0.8  # of the time for a decision
PROBE = {"sql": "SELECT 1"}
TICK_SECONDS = 0.05


class Watchdog:
    """Shuts the sockets of calls that are over their time; one thread for all of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, tuple[float, int]] = {}  # thread → deadline, file descriptor
        self._thread: threading.Thread | None = None

    def watching(self, descriptor: int, seconds: float) -> "Watch":
        return Watch(self, descriptor, seconds)

    def begin(self, descriptor: int, seconds: float) -> None:
        with self._lock:
            self._calls[threading.get_ident()] = (time.monotonic() + seconds, descriptor)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()

    def end(self) -> None:
        with self._lock:
            self._calls.pop(threading.get_ident(), None)

    def _run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            now = time.monotonic()
            # While the lock is held no watched call can end, so its descriptor is still its own.
            with self._lock:
                for thread, (deadline, descriptor) in list(self._calls.items()):
                    if now >= deadline:
                        del self._calls[thread]
                        with contextlib.suppress(OSError):
                            shut = socket.socket(fileno=os.dup(descriptor))
                            with shut:
                                shut.shutdown(socket.SHUT_RDWR)


class Watch:
    """The length of a watched call. (A generator for it would take three times as long.)"""

    __slots__ = ("descriptor", "seconds", "watchdog")

    def __init__(self, watchdog: Watchdog, descriptor: int, seconds: float) -> None:
        self.watchdog, self.descriptor, self.seconds = watchdog, descriptor, seconds

    def __enter__(self) -> None:
        self.watchdog.begin(self.descriptor, self.seconds)

    def __exit__(self, *_: object) -> None:
        self.watchdog.end()


class Outage:
    """Whether the database is known to be away. One prober looks for it while it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away = False
        self._suspected = False
        self._watchers: list[Callable[[], None]] = []

    def watch(self, begun: Callable[[], None]) -> None:
        """Calls it, from any thread, whenever an outage begins."""
        self._watchers.append(begun)

    def forget(self, begun: Callable[[], None]) -> None:
        self._watchers.remove(begun)

    @property
    def away(self) -> bool:
        return self._away

    def check(self) -> None:
        if self._away:
            raise Unavailable("the database is unreachable")

    def begin(self, reason: str, parameters: dict[str, Any]) -> None:
        with self._lock:
            if self._away:
                return
            self._away = True
        log.error("database unreachable, refusing everything", extra={"reason": reason})
        threading.Thread(target=self._probe, args=(parameters,), name="prober", daemon=True).start()
        for begun in list(self._watchers):
            begun()

    def suspect(self) -> None:
        """A lock was not acquired in time, or a standby did not confirm. One stuck row, or one
        canceled wait, is no outage; what holds up everybody is."""
        with self._lock:
            if self._away or self._suspected:
                return
            self._suspected = True
        parameters = connection.get_connection_params()
        threading.Thread(target=self._look, args=(parameters,), name="prober", daemon=True).start()

    def _look(self, parameters: dict[str, Any]) -> None:
        try:
            if not answers(parameters):
                self.begin("a probe was not decided in time", parameters)
        finally:
            self._suspected = False

    def _probe(self, parameters: dict[str, Any]) -> None:
        # At once: a single connection that was ended is no outage.
        while not answers(parameters):
            time.sleep(PROBE_SECONDS)
        self._away = False
        log.warning("database is back")


def answers(parameters: dict[str, Any]) -> bool:
    """Whether a connection of its own gets what every decision needs: the lock, and a commit that
    the synchronous standby confirms, where there is one."""
    seconds = settings.TOLLGATE_DATABASE_TIMEOUT
    notices = Notices()
    try:
        with (
            psycopg.connect(**parameters) as probe,
            watchdog.watching(probe.pgconn.socket, seconds),
        ):
            probe.add_notice_handler(notices.handler)
            probe.execute(f"SET LOCAL lock_timeout = {PROBE_LOCK_MILLISECONDS}")
            probe.execute(PROBE["sql"])
            probe.commit()  # the lock is not held for the second act
            probe.execute("SELECT tollgate.confirm_commit()")
            with canceling(probe, PROBE_COMMIT_SHARE * seconds):
                probe.commit()
    except (psycopg.Error, OSError):
        return False
    return not notices.unconfirmed()


@contextlib.contextmanager
def canceling(probe: "psycopg.Connection[Any]", seconds: float) -> Iterator[None]:
    """Has the server end what takes longer. A wait for a standby does not notice that its client is
    gone, and no timeout of the server bounds it: each probe would leave one more process behind."""
    timer = threading.Timer(seconds, probe.cancel_safe, kwargs={"timeout": seconds})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def probe_with(sql: str) -> None:
    """Names the statement that only a database that can decide answers, such as the one lock that
    everybody takes. The app that decides says it."""
    PROBE["sql"] = sql


watchdog = Watchdog()
outage = Outage()


def fetch_row(sql: str, params: Sequence[Any]) -> tuple[Any, ...]:
    """Run one statement that returns one row. Raises Unavailable instead of any database error;
    Overloaded where a lock was not acquired in time, and so nothing was done.

    A statement that calls a procedure must not stand in a transaction; it is sent as it is.
    """
    outage.check()
    seconds = settings.TOLLGATE_DATABASE_TIMEOUT
    began = time.monotonic()
    for _ in range(3):
        try:
            raw = _live_connection()
            left = max(seconds - (time.monotonic() - began), 0.2)
            with watchdog.watching(raw.pgconn.socket, left), psycopg.Cursor(raw) as cursor:
                cursor.execute(sql, params, prepare=not settings.PGBOUNCER)
                row: tuple[Any, ...] | None = cursor.fetchone()
            if row is None:
                raise Unavailable("the database gave no answer")
            if connection.notices.unconfirmed():  # type: ignore[attr-defined]
                log.error("the synchronous standby did not confirm a decision")
                outage.suspect()
                raise Unavailable("the synchronous standby did not confirm it")
            return row
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            # Nothing was done; the routine is safe to repeat as a whole.
            if connection.in_atomic_block:
                raise
            continue
        except WrongDatabase as error:
            raise Unavailable(str(error)) from error
        except (psycopg.Error, OperationalError, InterfaceError) as error:
            if connection.in_atomic_block and not isinstance(error, psycopg.OperationalError):
                raise
            _after_failure(error)
            if isinstance(error, psycopg.errors.LockNotAvailable):
                raise Overloaded("a lock was not acquired in time") from error
            raise Unavailable("the database did not decide") from error
    raise Unavailable("too many at once")


def _live_connection() -> "psycopg.Connection[Any]":
    """This thread's connection; opened anew if the server has closed it since the last call."""
    raw: psycopg.Connection[Any] | None = connection.connection
    if raw is not None and not connection.in_atomic_block and _peer_has_closed(raw):
        connection.close()
    connection.ensure_connection()
    raw = connection.connection
    assert raw is not None  # noqa: S101  (what ensure_connection is for)
    return raw


def _peer_has_closed(raw: "psycopg.Connection[Any]") -> bool:
    """Whether the server ended an idle connection: its goodbye is there to be read, then the end.

    In the millisecond between the two it counts as open still, as before the goodbye. Without poll,
    which would let other threads have the interpreter in the middle of each request.
    """
    try:
        raw.pgconn.consume_input()
        raw.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return raw.closed


# Errors after which a session goes on as before, if it says so itself: bad input, broken
# constraints, rolled back, a lock not acquired in time, canceled.
HARMLESS = ("22", "23", "40", "55", "57", "P0")


def can_keep(pgconn: pq.abc.PGconn, sqlstate: str | None) -> bool:
    """Whether the connection is as good as new after that error."""
    return (
        (sqlstate or "")[:2] in HARMLESS
        and (sqlstate or "")[:3] != "57P"
        and pgconn.status == pq.ConnStatus.OK
        and pgconn.transaction_status == pq.TransactionStatus.IDLE
    )


def _after_failure(error: Exception) -> None:
    cause = error.__cause__ if isinstance(error, OperationalError | InterfaceError) else error
    state = getattr(cause, "sqlstate", None)
    raw: psycopg.Connection[Any] | None = connection.connection
    if raw is None or not can_keep(raw.pgconn, state):
        with contextlib.suppress(Exception):
            connection.close()
    if state is None or state[:2] == "08" or state[:3] == "57P":
        outage.begin(type(cause).__name__, connection.get_connection_params())
    elif state == psycopg.errors.LockNotAvailable.sqlstate:
        log.warning("a lock was not acquired in time")
        outage.suspect()
    else:
        log.error("database refused a decision", extra={"sqlstate": state})
