"""manage.py seal_events: the sealer, a process of its own; or one turn of it, by hand."""

import logging
import signal
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection

from opslog.database import routines
from opslog.management.base import Documented
from opslog.sealing import heads, keys, sealer

EVERY = 20  # seconds: an event waits a minute at most

log = logging.getLogger("tollgate.seals")


class Command(Documented):
    examples = ("manage.py seal_events --forever",)
    exits = {1: "there is no key, or the stored routines are another release's"}
    help = (
        "Seals all committed events that no seal has yet, and writes the new heads to the head "
        "file. make run has a process that does this three times a minute (--forever)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--forever", action="store_true", help=f"every {EVERY} s, until SIGTERM or Ctrl-C"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forever"]:
            forever()
            return
        try:
            turn = sealer.seal(seconds=24 * 3600)
        except keys.NoKey as error:
            raise CommandError(str(error)) from None
        if turn.seals:
            heads.post_newest()
        if turn.busy:
            self.stdout.write("Another sealer is at work; it seals the same.")
        self.stdout.write(f"{turn.events} events in {turn.seals} new seals.")


def forever() -> None:
    """The process of the sealer: it alone needs the key, and nothing but the key and the database.

    Whatever goes wrong in a turn is logged, and tried again in the next. It does not start on
    routines that it cannot speak with.
    """
    if problem := routines.start_problem():
        raise CommandError(f"the sealer does not start: {problem}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        try:
            if sealer.seal().seals:
                heads.post_newest()
        except keys.NoKey as error:
            log.warning("the log is not sealed: %s", error)
        except (DatabaseError, OSError):
            log.exception("the log is not sealed")
            connection.close()
        stop.wait(EVERY)
