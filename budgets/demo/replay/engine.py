"""Plays requests against the service at a chosen pace, with so many in flight at most."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from budgets.demo.replay.mapping import Mapping, Piece
from budgets.demo.replay.tally import Tally
from budgets.demo.replay.trace import TraceRequest
from client.python.tollgate_client import Refused, Tollgate, TollgateError, Usage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timed:
    """A piece of work and when it is due, in seconds from the beginning of the replay."""

    due: float
    piece: Piece


def at_speed(
    requests: Iterable[TraceRequest], mapping: Mapping, *, speed: float
) -> Iterator[Timed]:
    """The trace's own rhythm, `speed` times as fast."""
    begin = None
    for request in requests:
        begin = begin or request.created_at
        seconds = (request.created_at - begin).total_seconds() / speed
        yield Timed(seconds, mapping.piece(request))


class Replay:
    """One replay. `speed` also shortens the work itself: a run lasts as long as its output took.
    A run ends with its usage, or with its cost in dollars where `cost_of` knows it.

    Unpaced work is not dropped: where the service or this machine is slower than the trace, the
    replay falls behind, and `behind` says by how many seconds.
    """

    def __init__(
        self,
        client: Tollgate,
        *,
        speed: float,
        in_flight: int,
        stop: threading.Event | None = None,
        on_ask: Callable[[], object] = lambda: None,
        cost_of: Callable[[Piece], Decimal | None] = lambda piece: None,
    ) -> None:
        self.tally = Tally()
        self.behind = 0.0
        self._client = client
        self._speed = speed
        self._in_flight = in_flight
        self._stop = stop or threading.Event()
        self._on_ask = on_ask
        self._cost_of = cost_of

    def play(self, work: Iterable[Timed]) -> Tally:
        """Until the work is done or `stop` is set. What was begun is settled in either case."""
        waiting: queue.Queue[Piece | None] = queue.Queue(maxsize=self._in_flight)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name=f"replay-{n}")
            for n in range(self._in_flight)
        ]
        for thread in threads:
            thread.start()
        try:
            begun = time.monotonic()
            for timed in work:
                late = time.monotonic() - begun - timed.due
                self.behind = max(self.behind, late)
                if self._stop.wait(max(0.0, -late)) or not self._hand_over(waiting, timed.piece):
                    break
        except BaseException:
            self._stop.set()
            raise
        finally:
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()
        return self.tally

    def _hand_over(self, waiting: "queue.Queue[Piece | None]", piece: Piece) -> bool:
        while not self._stop.is_set():
            try:
                waiting.put(piece, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def _work(self, waiting: "queue.Queue[Piece | None]") -> None:
        while (piece := waiting.get()) is not None:
            if self._stop.is_set():
                continue
            self._play_one(piece)
            self._on_ask()

    def _play_one(self, piece: Piece) -> None:
        """Asks, works, settles. Every outcome is counted; none ends the replay."""
        run = self._client.run(
            piece.work_order_id,
            agent=piece.agent,
            model=piece.model,
            estimated_input_tokens=piece.input_tokens,
            estimated_output_tokens=piece.output_limit,
        )
        self.tally.ask()
        try:
            with run:
                self.tally.admit(run.admission)
                self._stop.wait(piece.seconds / self._speed)
                cost = self._cost_of(piece)
                usage = Usage(
                    model=piece.model,
                    input_tokens=piece.input_tokens,
                    output_tokens=piece.output_tokens,
                )
                run.settle(cost_usd=cost, usage=usage if cost is None else None)
                run.checkpoint()
        except TollgateError as error:
            if not run.started:
                self._not_admitted(error)
                return
            log.warning("run %s did not end well: %s", run.id, error)
        self.tally.settle(run.settlement)

    def _not_admitted(self, error: TollgateError) -> None:
        if isinstance(error, Refused):
            self.tally.refuse(error.denial)
        else:
            log.warning("an ask got no decision: %s", error)
            self.tally.fail(type(error).__name__)
