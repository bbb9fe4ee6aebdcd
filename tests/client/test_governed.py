"""Functions of every kind as governed work, on the real service."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from client.python.tollgate_client import (
    AsyncTollgate,
    NoRun,
    Tollgate,
    current_run,
    require_run,
)
from client.python.tollgate_client.base_run import BaseRun
from tests.waiting import wait_until

from .harness import QUICK, Gate, Real

OPTIONS: dict[str, Any] = {"agent": "digest-1", "estimated_cost_usd": "0.05"}


@pytest.fixture
def tollgate(real: Real) -> Iterator[Tollgate]:
    with Tollgate(real.url, real.token, retry=QUICK) as client:
        yield client


def pay(usd: str) -> BaseRun:
    run = require_run()
    run.spent(cost_usd=usd)
    return run


def check(real: Real, run: BaseRun, cost: str, status: str = "success") -> None:
    assert real.run(run.id) == (status, Decimal(cost))
    assert current_run() is None


def test_a_function(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed("governed", **OPTIONS)
    def digest(pages: int) -> BaseRun:
        """Reads pages."""
        for _ in range(pages):
            run = pay("0.01")
        return run

    assert digest.__doc__ == "Reads pages."
    first, second = digest(1), digest(3)
    check(real, first, "0.01")
    check(real, second, "0.03")
    assert first.id != second.id


def test_a_function_that_fails(real: Real, tollgate: Tollgate) -> None:
    seen: list[BaseRun] = []

    @tollgate.governed("governed", **OPTIONS)
    def digest() -> None:
        seen.append(pay("0.01"))
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        digest()
    check(real, seen[0], "0.01", "error")


@pytest.mark.parametrize("kind", [Tollgate, AsyncTollgate])
def test_a_coroutine_function(real: Real, kind: Any) -> None:
    tollgate: Tollgate | AsyncTollgate = kind(real.url, real.token, retry=QUICK)

    @tollgate.governed("governed", **OPTIONS)
    async def digest(usd: str) -> BaseRun:
        await asyncio.gather(part(), part())
        return pay(usd)

    async def part() -> None:
        pay("0.001")

    async def main() -> tuple[BaseRun, BaseRun]:
        return await asyncio.gather(digest("0.01"), digest("0.02"))

    assert asyncio.iscoroutinefunction(digest)
    first, second = asyncio.run(main())
    check(real, first, "0.012")
    check(real, second, "0.022")


def test_options_may_depend_on_the_arguments(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed(
        lambda doc, **_: doc["order"],
        agent="digest-1",
        estimated_cost_usd=lambda doc, **_: "0.01" if doc["short"] else "0.05",
        user_id=lambda doc, user: user,
    )
    def digest(doc: dict[str, Any], *, user: str) -> BaseRun:
        return pay("0.001")

    run = digest({"order": "governed", "short": True}, user="ann")
    assert (run.ask.work_order_id, run.ask.user_id) == ("governed", "ann")
    assert run.reserved_usd == Decimal("0.01")
    check(real, run, "0.001")


def test_an_option_that_no_run_has(tollgate: Tollgate) -> None:
    with pytest.raises(TypeError, match="reserve"):
        tollgate.governed("governed", reserve="0.05")


def test_a_function_that_returns_a_coroutine(real: Real, tollgate: Tollgate) -> None:
    async def inner() -> None:
        """Would work after the run was left."""

    seen: list[BaseRun] = []

    @tollgate.governed("governed", **OPTIONS)
    def digest() -> object:
        seen.append(require_run())
        return inner()

    with pytest.raises(TypeError, match="async def"):
        digest()
    check(real, seen[0], "0", "cancelled")


def test_a_generator_lasts_until_it_is_exhausted(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed("governed", **OPTIONS)
    def pages() -> Generator[BaseRun, str, str]:
        usd = "0.01"
        for _ in range(3):
            usd = (yield pay(usd)) or usd
        return "the end"

    steps = pages()
    first = next(steps)
    assert current_run() is None  # what it yields to is another piece of work
    assert first.settlement is None
    steps.send("0.02")
    next(steps)
    with pytest.raises(StopIteration) as caught:
        next(steps)
    assert caught.value.value == "the end"
    check(real, first, "0.05")


def test_a_generator_that_is_left_early(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed("governed", **OPTIONS)
    def pages() -> Iterator[BaseRun]:
        while True:
            yield pay("0.01")

    seen = []
    for run in pages():
        seen.append(run)
        if len(seen) == 2:
            break
    del run
    wait_until(lambda: seen[0].settlement)
    check(real, seen[0], "0.02", "cancelled")


def test_a_generator_that_fails(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed("governed", **OPTIONS)
    def pages() -> Iterator[BaseRun]:
        try:
            yield pay("0.01")
        except KeyError:
            yield pay("0.02")

    steps = pages()
    first = next(steps)
    assert steps.throw(KeyError()) is first  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        steps.throw(ZeroDivisionError())  # type: ignore[attr-defined]
    check(real, first, "0.03", "error")


def test_generators_that_take_turns(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed("governed", **OPTIONS)
    def pages(usd: str) -> Iterator[BaseRun]:
        for _ in range(2):
            yield pay(usd)

    first, second = zip(*zip(pages("0.01"), pages("0.02"), strict=True), strict=True)
    check(real, first[0], "0.02")
    check(real, second[0], "0.04")


def test_an_async_generator(real: Real) -> None:
    async def main() -> list[BaseRun]:
        async with AsyncTollgate(real.url, real.token, retry=QUICK) as tollgate:

            @tollgate.governed("governed", **OPTIONS)
            async def pages(count: int) -> AsyncIterator[BaseRun]:
                for _ in range(count):
                    await asyncio.to_thread(lambda: None)
                    yield pay("0.01")

            whole = [run async for run in pages(3)]
            assert current_run() is None
            left = pages(3)
            early = await anext(left)
            assert current_run() is None
            await left.aclose()  # type: ignore[attr-defined]
        return [whole[0], early]

    whole, early = asyncio.run(main())
    check(real, whole, "0.03")
    check(real, early, "0.01", "cancelled")


def test_a_run_within_a_run(real: Real, tollgate: Tollgate) -> None:
    @tollgate.governed("governed", **OPTIONS)
    def inner() -> BaseRun:
        return pay("0.01")

    with tollgate.run("governed", **OPTIONS) as outer:
        check_inner = inner()
        assert current_run() is outer
        pay("0.02")
    check(real, outer, "0.02")
    check(real, check_inner, "0.01")


def test_threads_do_not_inherit_it(real: Real, tollgate: Tollgate) -> None:
    seen: list[object] = []

    def work() -> None:
        seen.append(current_run())

    with tollgate.run("governed", **OPTIONS) as run:
        for target in (work, run.bind(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        run.cancel()
    assert seen == [None, run]
    with pytest.raises(NoRun):
        require_run()


def test_its_settlement_is_on_disk_before_it_is_sent(
    real: Real, gate: Gate, tmp_path: Path
) -> None:
    entries: list[str] = []
    folder = tmp_path / "state" / "tollgate"
    gate.only, gate.closed = "finish", 503
    with Tollgate(gate.url, real.token, retry=QUICK, settle_wait=0.2) as tollgate:

        @tollgate.governed("governed", **OPTIONS)
        def digest() -> BaseRun:
            return pay("0.01")

        run = digest()
        entries = [path.read_text() for path in folder.glob("*.json")]
        assert run.id in entries[0]
        gate.closed = None
        assert tollgate.flush(60) == 0
    assert not list(folder.glob("*.json"))
    check(real, run, "0.01")
