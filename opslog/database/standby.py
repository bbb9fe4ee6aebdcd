"""Whether a synchronous standby confirmed what was committed.

PostgreSQL commits locally, then waits for the standby. A wait that is canceled (`statement_timeout`
in a procedure, `pg_cancel_backend`) ends with a warning, and the commit succeeds: what it wrote is
gone after a failover. So the warning tells a commit that is safe from one that is not. It is
recognized by the server's function that sends it, which is never translated.
"""

import psycopg
from prometheus_client import Counter
from psycopg import pq

CANCELED = "SyncRepWaitForLSN"
UNCONFIRMED = Counter(
    "tollgate_unconfirmed_commits_total",
    "Commits that a synchronous standby did not confirm: the wait for it was canceled.",
)


class Notices:
    """Hears the server's warnings on one connection."""

    __slots__ = ("_canceled",)

    def __init__(self) -> None:
        self._canceled = False

    def handler(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """For `Connection.add_notice_handler`."""
        self._hear(diagnostic.source_function)

    def result_handler(self, result: pq.abc.PGresult) -> None:
        """For `PGconn.notice_handler`, where a connection is used without psycopg's own layer."""
        name = result.error_field(pq.DiagnosticField.SOURCE_FUNCTION)
        self._hear(name.decode() if name else None)

    def _hear(self, function: str | None) -> None:
        if function == CANCELED:
            self._canceled = True
            UNCONFIRMED.inc()

    def unconfirmed(self) -> bool:
        """Whether a wait for the standby was canceled since this was last asked."""
        canceled, self._canceled = self._canceled, False
        return canceled
