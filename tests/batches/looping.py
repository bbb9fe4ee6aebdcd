"""A gatherer on an event loop of its own, as a web process has it, and what is asked of it."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import uvloop

from budgets import admission
from budgets.admission import Caller, Decision, FinishTold, StartAsk
from budgets.admission.batches import Ask
from budgets.gathering import Gatherer
from budgets.gathering.connection import Connection
from budgets.gathering.queue import Waiting
from tests.admission.desk import Desk
from tests.waiting import HANG_SECONDS, wait_until

Answer = Decision | Exception


def start(desk: Desk, wo: str = "w1", usd: str = "0.10", key: str = "", **more: Any) -> Ask:
    ask = StartAsk(wo, more.pop("agent", "agent-1"), Decimal(usd), **more)
    return Ask("start", admission.start_fields(ask, caller=desk.caller, idempotency_key=key))


def finish(desk: Desk, run: str, usd: str = "0.05") -> Ask:
    report = FinishTold("success", Decimal(usd))
    return Ask("finish", admission.finish_fields(UUID(run), report, caller=desk.caller))


def extend(caller: Caller, run: str, usd: str = "0.05") -> Ask:
    fields = admission.extend_fields(
        UUID(run), additional_usd=Decimal(usd), lease_seconds=None, caller=caller
    )
    return Ask("extend", fields)


@dataclass
class Looping:
    loop: asyncio.AbstractEventLoop
    gatherer: Gatherer

    def send(
        self, asks: Sequence[Ask], *, ago: float = 0, left: float | None = None
    ) -> "list[Future[Answer]]":
        """All in one turn of the loop; they arrived so many seconds ago, or have waited until so
        many are left."""
        futures: list[Future[Answer]] = [Future() for _ in asks]

        def submit() -> None:
            now = self.loop.time()
            for ask, future in zip(asks, futures, strict=True):
                sender, done = ask.fields["digest"], future.set_result
                if left is None:
                    self.gatherer.submit(ask, sender=sender, arrived=now - ago, done=done)
                else:
                    waiting = Waiting(ask, sender, now, now, now + left, done)
                    self.gatherer._enter(self.gatherer._batches, waiting)

        self.loop.call_soon_threadsafe(submit)
        return futures

    def ask(self, *asks: Ask) -> list[Answer]:
        return answers(self.send(asks))

    def refuses_at_once(self, ask: Ask) -> bool:
        """Without waiting for anything."""
        (sent,) = self.send([ask])
        for _ in range(3):
            turned = threading.Event()
            self.loop.call_soon_threadsafe(turned.set)
            turned.wait()
        return sent.done() and outcomes(answers([sent])) == ["Overloaded"]

    def admits(self, ask: Ask) -> bool:
        return outcomes(self.ask(ask)) == [(201, "")]

    @property
    def connections(self) -> list[Connection]:
        return list(self.gatherer._connections)

    @property
    def sessions(self) -> set[int]:
        """Their process ids on the server."""
        return {each.pgconn.backend_pid for each in self.connections}


def answers(futures: "Sequence[Future[Answer]]") -> list[Answer]:
    return [each.result(HANG_SECONDS) for each in futures]


def outcomes(answers: Sequence[Answer]) -> list[tuple[int, str] | str]:
    """Status and denial, or the name of the error."""
    return [
        (each.status, each.denial) if isinstance(each, Decision) else type(each).__name__
        for each in answers
    ]


@contextmanager
def looping() -> Iterator[Looping]:
    made: list[Looping] = []
    stopping: list[asyncio.Event] = []

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        gatherer = Gatherer(loop)
        stopping.append(stop)
        made.append(Looping(loop, gatherer))
        await stop.wait()
        await gatherer.close()

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    wait_until(lambda: made, "the loop runs")
    try:
        yield made[0]
    finally:
        made[0].loop.call_soon_threadsafe(stopping[0].set)
        thread.join(HANG_SECONDS)
        assert not thread.is_alive(), "the gatherer does not close"
