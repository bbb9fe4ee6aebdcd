"""The job worker. It does not start on routines that it cannot speak with."""

import signal
import sys
from typing import Any

from django_q import cluster
from django_q.management.commands import qcluster

from opslog.database import routines
from opslog.management.base import Documented


class Sentinel(cluster.Sentinel):
    """Ends when the first process says so, and ends its own processes.

    systemd, and whoever signals a process group, sends SIGTERM to all of them at once. django-q2's
    sentinel dies of that while the first process waits for it: the worker then hangs for ever.
    """

    def start(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its children inherit it
        super().start()

    def reincarnate(self, process: Any) -> None:
        if getattr(process, "timer", None) is not None and process.timer.value == 0:
            process.kill()  # over its time; SIGTERM, which follows, would not end it
        super().reincarnate(process)


class Command(Documented, qcluster.Command):
    examples = ("manage.py qcluster",)
    exits = {
        0: "stopped by SIGTERM or Ctrl-C",
        2: "wrong arguments, or the stored routines are another release's",
    }
    help = "Runs the job worker, until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        if problem := routines.start_problem():
            print(f"tollgate: the job worker does not start: {problem}", file=sys.stderr)
            sys.exit(2)
        cluster.Sentinel = Sentinel
        super().handle(*args, **options)
