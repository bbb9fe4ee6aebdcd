"""A connection on the event loop: one call at a time, and no thread waits for it."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from django.conf import settings
from django.db import connection as django_connection
from psycopg import pq
from psycopg.adapt import Transformer

from budgets import environment
from budgets.gathering.calls import Call, Statement
from opslog.database import authority, standby

SEEMS_FINE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
OVERDUE = "its time was over"
UNCONFIRMED = "40003"  # SQLSTATE: nobody knows whether it is complete


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call ended: with a result, or with a reason and the SQLSTATE. That is empty where the
    server did not answer: the connection was lost, or the time of the call was over."""

    result: pq.abc.PGresult | None
    sqlstate: str = ""
    reason: str = ""


Done = Callable[["Connection", CallResult], None]


class Connection:
    """Opened by `connect`. `ended` is called when it cannot be used any more."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        raw: "psycopg.AsyncConnection[object]",
        ended: Callable[["Connection"], None],
    ) -> None:
        self.loop, self._raw, self._ended = loop, raw, ended
        self.pgconn = raw.pgconn
        self.adapt = Transformer(raw)
        self._notices = standby.Notices()
        raw.add_notice_handler(self._notices.handler)
        self._prepared: set[Statement] = set()
        self._call: Call | None = None
        self._done: Done | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._result: pq.abc.PGresult | None = None
        self._preparing = False
        self._socket = self.pgconn.socket
        loop.add_reader(self._socket, self._readable)

    def send(self, call: Call, *, until: float, done: Done) -> None:
        """`until`, by the loop's clock: after it the socket is closed, and the call is lost."""
        self._call, self._done, self._result = call, done, None
        self._timer = self.loop.call_at(until, self._lose, OVERDUE)
        self._notices.unconfirmed()  # of nobody's call
        try:
            self._send(call)
        except psycopg.Error as error:
            self._lose(str(error))

    def _send(self, call: Call) -> None:
        statement = call.statement
        self._preparing = False
        if settings.PGBOUNCER:  # each call may be another server connection's
            self.pgconn.send_query_params(statement.sql, call.values)
        elif statement in self._prepared:
            self.pgconn.send_query_prepared(statement.name, call.values)
        else:
            self._preparing = True
            self.pgconn.send_prepare(statement.name, statement.sql)
        self._flush()

    def _flush(self) -> None:
        if self.pgconn.flush():
            self.loop.add_writer(self._socket, self._writable)
        else:
            self.loop.remove_writer(self._socket)

    def _writable(self) -> None:
        try:
            self._flush()
        except psycopg.Error as error:
            self._lose(str(error))

    def _readable(self) -> None:
        try:
            self.pgconn.consume_input()
            if self._done is None:  # idle: a goodbye is followed by the end, which raises
                return
            while not self.pgconn.is_busy():
                result = self.pgconn.get_result()
                if result is None:
                    self._over()
                    return
                self._result = result
        except psycopg.Error as error:
            self._lose(str(error))

    def look(self) -> None:
        """As if the loop had seen that there is something to read."""
        if self._done is not None:
            self._readable()

    def _over(self) -> None:
        """The server is through with what was sent, and ready for more."""
        result, call = self._result, self._call
        assert call is not None  # noqa: S101  (it is under way)
        if result is None:
            self._lose("the database gave no answer")
        elif result.status not in SEEMS_FINE:
            state = text(result.error_field(pq.DiagnosticField.SQLSTATE))
            reason = text(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY))
            self._finish(CallResult(None, state, reason))
        elif self._preparing:
            self._prepared.add(call.statement)
            self._result = None
            self._send(call)
        elif self._notices.unconfirmed():
            # Committed here, and perhaps nowhere else: no acknowledgement.
            self._finish(CallResult(None, UNCONFIRMED, "no standby confirmed the commit"))
        else:
            self._finish(CallResult(result))

    def _finish(self, outcome: CallResult) -> None:
        done = self._release()
        if outcome.result is None and not authority.can_keep(self.pgconn, outcome.sqlstate):
            self.close()
        if done is not None:
            done(self, outcome)

    def _lose(self, reason: str) -> None:
        """Nobody knows what became of the call."""
        done = self._release()
        self.close()
        if done is not None:
            done(self, CallResult(None, reason=reason))

    def _release(self) -> Done | None:
        done, self._done, self._call = self._done, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return done

    @property
    def closed(self) -> bool:
        return self._socket < 0

    def close(self) -> None:
        if self._socket >= 0:
            self.loop.remove_reader(self._socket)
            self.loop.remove_writer(self._socket)
            self._socket = -1
            self.pgconn.finish()
            self._ended(self)


def text(field: bytes | None) -> str:
    return (field or b"").decode(errors="replace")


async def connect(
    loop: asyncio.AbstractEventLoop, ended: Callable[[Connection], None]
) -> Connection:
    """With the parameters of Django's connection, and the same guard: raises WrongDatabase where
    the database is another one's, else psycopg.Error or TimeoutError."""
    parameters = django_connection.get_connection_params()
    for name in ("context", "cursor_factory"):  # they are for Django's own cursors
        parameters.pop(name, None)
    async with asyncio.timeout(settings.TOLLGATE_DATABASE_TIMEOUT):
        raw = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
        try:
            await environment.refuse_another_on_loop(raw)
            return Connection(loop, raw, ended)
        except BaseException:
            with contextlib.suppress(Exception):
                raw.pgconn.finish()
            raise
