"""The queue in front of the database, on a real loop and a real database."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import pytest

from budgets import admission
from budgets.admission import Decision, FinishTold, StartAsk
from budgets.batches import Ask
from budgets.gathering import Gatherer
from tests import factories
from tests.admission.desk import Desk, run_of
from workorders.models import Run

pytestmark = pytest.mark.usefixtures("committed_db")


def start(desk: Desk, wo: str = "w1", usd: str = "0.10", key: str = "", **more: object) -> Ask:
    ask = StartAsk(wo, "agent-1", Decimal(usd), **more)  # type: ignore[arg-type]
    return Ask("start", admission.start_fields(ask, caller=desk.caller, idempotency_key=key))


def finish(desk: Desk, run: str, usd: str = "0.05") -> Ask:
    told = FinishTold("success", Decimal(usd))
    return Ask("finish", admission.finish_fields(UUID(run), told, caller=desk.caller))


def extend(desk: Desk, run: str, usd: str = "0.05") -> Ask:
    fields = admission.extend_fields(
        UUID(run), additional_usd=Decimal(usd), lease_seconds=None, caller=desk.caller
    )
    return Ask("extend", fields)


async def answers(gatherer: Gatherer, asks: Sequence[Ask]) -> list[Decision | Exception]:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Decision | Exception]] = [loop.create_future() for _ in asks]
    for ask, future in zip(asks, futures, strict=True):
        gatherer.submit(
            ask, sender=ask.fields["digest"], arrived=loop.time(), done=future.set_result
        )
    return await asyncio.gather(*futures)


def on_a_loop(asks: Sequence[Ask]) -> list[Decision | Exception]:
    async def run() -> list[Decision | Exception]:
        gatherer = Gatherer(asyncio.get_running_loop())
        try:
            return await answers(gatherer, asks)
        finally:
            await gatherer.close()

    return asyncio.run(run())


def told(answers: Sequence[Decision | Exception]) -> list[tuple[int, str] | str]:
    return [
        (each.status, each.denial) if isinstance(each, Decision) else type(each).__name__
        for each in answers
    ]


def test_one_alone_and_many_together_are_decided() -> None:
    factories.make_work_order("w1", usd_per_day="0.44", max_concurrent_runs=9)
    desk = Desk()
    assert told(on_a_loop([start(desk)])) == [(201, "")]
    run = run_of(desk.start())
    asks = [start(desk), start(desk), start(desk), finish(desk, run)]
    assert told(on_a_loop(asks)) == [(201, ""), (201, ""), (429, "usd_per_day"), (200, "")]
    assert Run.objects.count() == 4


def test_extensions_and_dry_runs_go_alone() -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    run = run_of(desk.start())
    asks = [start(desk), extend(desk, run), start(desk, dry_run=True), extend(desk, run)]
    assert told(on_a_loop(asks)) == [(201, ""), (200, ""), (200, ""), (200, "")]
    assert Run.objects.count() == 2
