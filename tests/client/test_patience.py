"""A batch that is wider than its limit of concurrent runs waits in line, on the real service."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from client.python.tollgate_client import AsyncTollgate, Refused, RetryPolicy, Run, Tollgate
from tests.waiting import HANG_SECONDS, wait_until

from .harness import QUICK, Gate, Real
from .stub import admitted, refused, settled, stub_service

ITEMS, THREADS, ROOM = 200, 8, 2


def test_a_batch_on_eight_threads(real: Real, gate: Gate) -> None:
    """Two of eight are refused at the beginning, and hardly one later: it used to be 184 of 200."""
    with Tollgate(
        gate.url, real.token, agent="digest-1", patience=HANG_SECONDS, timeout=HANG_SECONDS
    ) as tollgate:

        def work(number: int) -> Run:
            with tollgate.run("narrow", estimated_cost_usd="0.001") as run:
                run.spent(cost_usd="0.0005")
            return run

        with ThreadPoolExecutor(THREADS) as pool:
            runs = list(pool.map(work, range(ITEMS)))
    assert all(run.settlement for run in runs)
    assert real.runs("narrow") == ITEMS
    refusals = gate.asked("start") - ITEMS
    assert refusals < ITEMS / 10


def test_a_batch_of_tasks(real: Real, gate: Gate) -> None:
    items = 40

    async def main() -> None:
        async with AsyncTollgate(
            gate.url, real.token, agent="digest-1", patience=HANG_SECONDS, timeout=HANG_SECONDS
        ) as tollgate:

            async def work() -> None:
                async with tollgate.run("narrow-async", estimated_cost_usd="0.001") as run:
                    run.spent(cost_usd="0.0005")
                assert run.settlement is not None

            await asyncio.gather(*(work() for _ in range(items)))

    asyncio.run(main())
    assert real.runs("narrow-async") == items
    # All ask at once; then each waits for its turn.
    assert gate.asked("start") <= 2 * items + items / 10


def test_who_waits_and_is_cancelled_leaves_the_line(real: Real) -> None:
    async def main() -> None:
        async with AsyncTollgate(real.url, real.token, agent="digest-1", retry=QUICK) as tollgate:

            def run(patience: float) -> "asyncio.Task[object]":
                wanted = tollgate.run("narrow-slow", estimated_cost_usd="0.001", patience=patience)
                return asyncio.ensure_future(wanted.__aenter__())

            first, second = await run(0), await run(0)
            room = tollgate.core.room
            gone, stays = run(HANG_SECONDS), run(HANG_SECONDS)
            line = ("narrow-slow", "")
            while len(room._lines.get(line, ())) < 2:
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])
            gone.cancel()
            await first.__aexit__(None, None, None)  # type: ignore[attr-defined]
            third = await stays
            with pytest.raises(Refused) as caught:
                await run(0)
            assert caught.value.denial == "concurrency"
            for each in (second, third):
                await each.__aexit__(None, None, None)  # type: ignore[attr-defined]
            assert room.is_empty(line)

    asyncio.run(main())
    wait_until(lambda: not real.open_runs("narrow-slow"))


PATIENT = RetryPolicy(first_wait=0.01, longest_wait=0.05, total=HANG_SECONDS)


@pytest.mark.parametrize("denial", ["concurrency", "feature_rate", "user_quota", "address_rate"])
def test_what_a_short_wait_cures_is_waited_for(denial: str) -> None:
    with (
        stub_service() as stub,
        Tollgate(stub.url, "tg_t", agent="digest-1", retry=PATIENT) as tollgate,
    ):
        no = refused(429, denial, "full", retry=1)
        stub.answers("start", no, no, admitted())
        stub.answers("finish", settled())
        with tollgate.run("digest") as run:
            run.spent(cost_usd="0.031")
        starts = stub.acts("start")
        assert len(starts) == 3
        assert len({start.key for start in starts}) == 1


@pytest.mark.parametrize(
    ("denial", "retry", "patience"),
    [
        ("concurrency", 5, 0.0),
        ("user_quota", 86400, 60.0),
        ("usd_per_day", 1, 60.0),
        ("budget:global:rolling_hour", 1, 60.0),
    ],
)
def test_what_it_does_not_cure_is_raised_at_once(denial: str, retry: int, patience: float) -> None:
    with (
        stub_service() as stub,
        Tollgate(stub.url, "tg_t", agent="digest-1", patience=patience) as tollgate,
    ):
        stub.answers("start", refused(429, denial, "full", retry=retry))
        with pytest.raises(Refused):
            tollgate.run("digest").__enter__()
        assert len(stub.acts("start")) == 1


def test_patience_ends() -> None:
    with (
        stub_service() as stub,
        Tollgate(stub.url, "tg_t", agent="digest-1", patience=0.3) as tollgate,
    ):
        stub.answers("start", refused(429, "concurrency", "full", retry=5))
        with pytest.raises(Refused) as caught:
            tollgate.run("digest").__enter__()
        assert caught.value.denial == "concurrency"
        assert tollgate.core.room.is_empty(("digest", ""))


def test_closing_the_client_ends_a_wait() -> None:
    with stub_service() as stub:
        tollgate = Tollgate(stub.url, "tg_t", agent="digest-1", patience=HANG_SECONDS)
        stub.answers("start", refused(429, "concurrency", "full", retry=100))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(tollgate.run("digest").__enter__)
            wait_until(lambda: not tollgate.core.room.is_empty(("digest", "")))
            tollgate.close()
            assert waiting.exception() is not None
