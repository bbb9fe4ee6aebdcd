"""manage.py deliver_messages: the process that sends messages; or one round of it, by hand."""

import importlib
import logging
import signal
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.utils import timezone

from opslog import liveness
from opslog.database import routines
from opslog.management.base import Documented
from opslog.outbox import delivery

EVERY = 1.0  # seconds
FINISH_SECONDS = 5.0  # for attempts under way at the end
BEAT_EVERY = 20  # turns, of a second at least

log = logging.getLogger("tollgate.delivery")


class Command(Documented):
    examples = ("manage.py deliver_messages --forever",)
    help = (
        "Sends the messages that are waiting, once. make run has a process that does this every "
        "second (--forever)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--forever", action="store_true", help="until SIGTERM or Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forever"]:
            forever()
            return
        self.stdout.write(f"{delivery.deliver_due()} messages.")


def forever() -> None:
    """Whatever goes wrong in a turn is logged, and tried again in the next."""
    if problem := routines.start_problem():
        raise CommandError(f"messages are not delivered: {problem}")
    importlib.import_module("apprise")  # once, and not in each child
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    courier, turns = delivery.Courier(), 0
    while not stop.is_set():
        try:
            if turns % BEAT_EVERY == 0:
                liveness.beat(liveness.DELIVERY)
                liveness.watch(
                    liveness.SEEN_BY_DELIVERY, now=timezone.now(), since=liveness.STARTED
                )
            courier.turn(seconds=EVERY)
        except Exception:
            log.exception("a turn of delivery failed")
            connection.close()
        turns += 1
        if not courier.under_way:
            stop.wait(EVERY)
    courier.finish(seconds=FINISH_SECONDS)
