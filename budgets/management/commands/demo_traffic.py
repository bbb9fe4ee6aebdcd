"""manage.py demo_traffic: the live trickle of `make run`."""

import random
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError, CommandParser

from budgets.demo.replay.engine import Replay
from budgets.demo.replay.mapping import Piece
from budgets.demo.replay.trace import read_trace
from budgets.demo.seeding import TRACE
from budgets.demo.service import find_token
from budgets.demo.telling import Teller
from budgets.demo.trickle import trickle
from client.python.tollgate_client import RetryPolicy, Tollgate
from opslog.management.base import Documented
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook, Usage

GRACE_SECONDS = 0.5


def cost_by(book: PriceBook) -> Callable[[Piece], Decimal | None]:
    def cost(piece: Piece) -> Decimal | None:
        usage = Usage(piece.input_tokens, piece.output_tokens)
        return book.cost(piece.model, usage, datetime.now(UTC))

    return cost


class Command(Documented):
    examples = ("manage.py demo_traffic --url http://127.0.0.1:8000",)
    help = (
        "A few simulated agents that ask about once a second, forever, for the demo's work "
        "orders. Uses TOLLGATE_TOKEN, or the token that seed_demo left in the data folder."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", required=True, help="the running server")
        parser.add_argument("--per-second", type=float, default=1.0, help="asks on average (1)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["per_second"] > 0:
            raise CommandError("--per-second must be above 0.")
        token = find_token()
        if not token:
            self.stdout.write("No demo token here: no simulated traffic.")
            return
        stop = threading.Event()
        try:
            # A restarting server is waited for: an ask that fails is counted and the next is made.
            client = Tollgate(
                options["url"],
                token,
                retry=RetryPolicy(total=20),
                patience=0.0,
                settle_wait=2.0,
                journal=False,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None

        def end(number: int, frame: object) -> None:
            stop.set()
            # What runs is settled; a server that is away as well is not waited for.
            timer = threading.Timer(GRACE_SECONDS, client.close)
            timer.daemon = True
            timer.start()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        with client:
            Teller(options["url"], token, list(read_trace(TRACE)), stop).start()
            cost = cost_by(PriceBook(0, bundled()))
            # Runs end with their cost, not with their usage: the product has reported its calls.
            replay = Replay(client, speed=1.0, in_flight=8, stop=stop, cost_of=cost)
            rng = random.Random()  # noqa: S311  (no secret depends on it)
            replay.play(trickle(per_second=options["per_second"], rng=rng))
