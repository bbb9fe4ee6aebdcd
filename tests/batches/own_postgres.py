"""What can be done to a PostgreSQL that nobody else uses."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from config.run.embedded import EmbeddedPostgres
from tests.waiting import wait_until


@dataclass
class Own:
    postgres: EmbeddedPostgres
    database: str

    def superuser(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        url = self.postgres.url("postgres", self.postgres._passwords(), "postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def waiting(self, event: str) -> int:
        """The process id of the one session of ours that waits for that."""
        found = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event = %s"
        return int(wait_until(lambda: self.superuser(found, self.database, event))[0][0])

    def reloaded(self, setting: str) -> str:
        """Its value after the configuration was read once more."""
        self.superuser("SELECT pg_reload_conf()")
        return str(self.superuser("SELECT current_setting(%s)", setting)[0][0])

    def end_sessions(self) -> None:
        self.superuser(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            self.database,
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        assert self.postgres.process is not None
        parent = psutil.Process(self.postgres.process.pid)
        processes = [parent, *parent.children(recursive=True)]
        try:
            send(processes, signal.SIGSTOP)
            yield
        finally:
            send(processes, signal.SIGCONT)


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    """To each that is still there: a worker of autovacuum may have ended meanwhile."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
