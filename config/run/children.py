"""Child processes that never outlive their parent."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.run.privileges import ProcessUser, die_with_parent

BASE_DIR = Path(__file__).resolve().parent.parent.parent


@dataclass
class Child:
    """A program in a process group of its own; its output is passed on, each line with its name.

    Start it from the main thread: on Linux it is ended when the thread that started it ends.
    """

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()  # variables of this process that it does not get
    user: ProcessUser = field(default_factory=ProcessUser)
    quiet: bool = False  # output goes nowhere
    cwd: Path = BASE_DIR
    process: "subprocess.Popen[str] | None" = None
    _reader: threading.Thread | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.argv,
            cwd=self.cwd,
            env={
                **{name: text for name, text in os.environ.items() if name not in self.without},
                **self.env,
                **self.user.env,
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if self.quiet else subprocess.PIPE,
            stderr=subprocess.DEVNULL if self.quiet else subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  (it only calls prctl)
            user=self.user.uid,
            group=self.user.gid,
            extra_groups=None if self.user.uid is None else [],
        )
        if self.process.stdout is not None:
            self._reader = threading.Thread(
                target=self._pass_on, args=(self.process.stdout,), daemon=True
            )
            self._reader.start()

    def _pass_on(self, stream: IO[str]) -> None:
        for line in stream:
            sys.stdout.write(f"{self.name:<8}{line}" if self.name else line)
            sys.stdout.flush()

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self.process.poll() if self.process else None

    def finish(self) -> None:
        """After its end: passes the rest of its output on."""
        if self._reader is not None:
            self._reader.join(5)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self, seconds: float = 10) -> None:
        """Waits so long for a clean end, then ends whatever is left of the whole group."""
        if self.process is None:
            return
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.finish()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None


COUNTS = "PROMETHEUS_MULTIPROC_DIR"


class WebServer(Child):
    """The web server, whose worker processes count for `/metrics` in one folder they share."""

    counts: str = ""

    def start(self) -> None:
        if not self.counts:
            self.counts = tempfile.mkdtemp(prefix="tollgate-metrics-")
            self.user.own(Path(self.counts))
        self.env = {**self.env, COUNTS: self.counts}
        super().start()

    def kill(self) -> None:
        super().kill()
        if self.counts:
            shutil.rmtree(self.counts, ignore_errors=True)
            self.counts = ""


def stop_all(children: list[Child], seconds: float = 10) -> None:
    """Asks all at once, then waits for each."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + seconds
    for child in children:
        child.stop(max(0.1, deadline - time.monotonic()))


def web_server(
    host: str,
    port: int,
    *,
    door_port: int = 0,
    workers: int,
    threads: int,
    page_workers: int = 1,
    stop_seconds: int = 5,
) -> list[str]:
    """The command line of the web server; door_port: 0 for none; stop_seconds: for requests under
    way at its end."""
    return [
        *(sys.executable, "-m", "config.server", "--host", host, "--port", str(port)),
        *("--door-port", str(door_port)),
        *("--workers", str(workers), "--page-workers", str(page_workers)),
        *("--threads", str(threads), "--stop-seconds", str(stop_seconds)),
    ]


def job_worker() -> list[str]:
    """The command line of the job worker."""
    return [sys.executable, "manage.py", "qcluster"]


def courier() -> list[str]:
    """The command line of the process that sends messages."""
    return [sys.executable, "manage.py", "deliver_messages", "--forever"]


def sealer() -> list[str]:
    """The command line of the process that seals the log."""
    return [sys.executable, "manage.py", "seal_events", "--forever"]
