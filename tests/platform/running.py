"""`make run`, as a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.request import urlopen

import psutil

from config.run.children import BASE_DIR
from config.run.embedded import free_port
from tests.waiting import HANG_SECONDS, wait_until

OUTSIDE = ("DATABASE_URL", "TOLLGATE_OWNER_DATABASE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")


class Run:
    """One `make run` on a data folder."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port, self.door_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.run.supervisor"],
            cwd=BASE_DIR,
            env={
                **clean,
                "TOLLGATE_DATA": str(folder),
                "PORT": str(self.port),
                "DOOR_PORT": str(self.door_port),
                "DEMO": "0",
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.printed()
        try:
            urlopen(f"{self.url}/healthz", timeout=HANG_SECONDS).close()
        except OSError:
            return False
        return True

    def wait_until_open(self) -> None:
        wait_until(self.answers, self.lines)

    def family(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, number: signal.Signals) -> str:
        """Sends the signal, waits, and returns everything that was printed."""
        self.process.send_signal(number)
        return self.printed()

    def printed(self) -> str:
        """Everything that was printed, once the process has ended."""
        self.process.wait(timeout=HANG_SECONDS)
        self.reader.join(timeout=HANG_SECONDS)
        return "".join(self.lines)

    def wait_until_it_says(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.lines), self.lines)


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=HANG_SECONDS)
    return not alive
