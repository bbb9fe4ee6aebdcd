"""A run as a context manager: what is settled, the lease, and stopping the work."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from client.python.tollgate_client import (
    Refused,
    RetryPolicy,
    Run,
    StopRun,
    Tollgate,
    Usage,
)
from tests.waiting import HANG_SECONDS, stays, timed, wait_until

from .stub import RUN_ID, Answer, Stub, admitted, extended, refused, stub_service

QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.05, total=HANG_SECONDS)

# In seconds: a lease that a busy machine loses is followed by a longer one.
LEASES = (1, 4, 16, 64)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_service() as service:
        yield service


@pytest.fixture
def tollgate(stub: Stub) -> Iterator[Tollgate]:
    with Tollgate(stub.url, "tg_token", retry=QUICK) as client:
        yield client


def digest(tollgate: Tollgate, **options: Any) -> Run:
    return tollgate.run("digest", agent="digest-1", estimated_cost_usd="0.05", **options)


def busy(seconds: float = HANG_SECONDS) -> None:
    """Work without a checkpoint, in bytecode between short sleeps."""
    stays(lambda: True, seconds)


def step_by_step(run: Run) -> None:
    """Work with a checkpoint between its steps."""
    run.settle(cost_usd="0.02")
    wait_until(run.checkpoint)


def how_it_stopped(
    stub: Stub, tollgate: Tollgate, work: Callable[[Run], None], **options: Any
) -> StopRun:
    for seconds in LEASES:
        stub.asked.clear()
        with (
            pytest.raises(StopRun) as caught,
            digest(tollgate, lease_seconds=seconds, **options) as run,
        ):
            work(run)
        if caught.value.reason != "lease_lost":
            break
    return caught.value


def test_the_ask_says_what_was_told_and_no_more(stub: Stub, tollgate: Tollgate) -> None:
    with digest(tollgate, model="m", estimated_input_tokens=10, feature="f", confirm=True) as run:
        assert run.id == RUN_ID
        assert run.admission.caps.usd_per_day == Decimal("2.0")
        run.settle(cost_usd=Decimal("0.0310"))
    assert stub.acts("start")[0].body == {
        "workOrderId": "digest",
        "agentName": "digest-1",
        "estimatedCostUsd": "0.05",
        "model": "m",
        "estimatedInputTokens": 10,
        "leaseSeconds": 900,
        "feature": "f",
        "confirm": True,
    }
    assert run.settlement is not None
    assert run.settlement.cost_usd == Decimal("0.031")


def test_what_is_finer_than_a_nano_dollar_is_rounded_up(stub: Stub, tollgate: Tollgate) -> None:
    with digest(tollgate) as run:
        run.settle(cost_usd="0.0000000001")
    assert stub.acts("finish")[0].body == {"status": "success", "costUsd": "0.000000001"}


def test_usage_is_priced_by_the_service(stub: Stub, tollgate: Tollgate) -> None:
    with digest(tollgate) as run:
        run.settle(usage=Usage(model="m", input_tokens=7, output_tokens=3, reasoning_tokens=1))
    assert stub.acts("finish")[0].body == {
        "status": "success",
        "usage": {
            "model": "m",
            "inputTokens": 7,
            "cachedInputTokens": 0,
            "outputTokens": 3,
            "reasoningTokens": 1,
        },
    }


def test_all_that_a_run_used_is_told(stub: Stub, tollgate: Tollgate) -> None:
    with digest(tollgate) as run:
        run.settle(
            usage=Usage(
                model="m",
                provider="anthropic",
                input_tokens=20,
                cached_input_tokens=2,
                cache_write_tokens=3,
                cache_write_1h_tokens=4,
                audio_input_tokens=5,
                cached_audio_input_tokens=1,
                image_input_tokens=6,
                output_tokens=9,
                audio_output_tokens=2,
                image_output_tokens=3,
                service_tier="batch",
                tool_calls={"web_search": 3},
            )
        )
    assert stub.acts("finish")[0].body["usage"] == {
        "model": "m",
        "provider": "anthropic",
        "inputTokens": 20,
        "cachedInputTokens": 2,
        "cacheWriteTokens": 3,
        "cacheWrite1hTokens": 4,
        "audioInputTokens": 5,
        "cachedAudioInputTokens": 1,
        "imageInputTokens": 6,
        "outputTokens": 9,
        "reasoningTokens": 0,
        "audioOutputTokens": 2,
        "imageOutputTokens": 3,
        "serviceTier": "batch",
        "toolCalls": {"web_search": 3},
    }


@pytest.mark.parametrize(("result", "cost"), [(None, "0.08"), ("0.02", "0.02")])
def test_an_error_settles_what_was_told_or_all_that_was_reserved(
    stub: Stub, tollgate: Tollgate, result: str | None, cost: str
) -> None:
    stub.answers("extend", extended("0.08"))

    def work() -> None:
        with digest(tollgate) as run:
            run.extend("0.03")
            assert run.reserved_usd == Decimal("0.08")
            if result:
                run.settle(cost_usd=result)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        work()
    assert stub.acts("extend")[0].body == {"additionalUsd": "0.03"}
    assert stub.acts("extend")[0].key
    assert stub.acts("finish")[0].body == {"status": "error", "costUsd": cost}


def test_a_cancelled_run_gives_everything_back(stub: Stub, tollgate: Tollgate) -> None:
    with digest(tollgate) as run:
        run.cancel()
    assert stub.acts("finish")[0].body == {"status": "cancelled", "costUsd": "0"}


@pytest.mark.parametrize("money", [0.05, True, "-1", "NaN", "Infinity", "five", "1e400"])
def test_what_is_no_money_is_refused_here(tollgate: Tollgate, money: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        tollgate.run("digest", agent="digest-1", estimated_cost_usd=money)


def test_the_lease_is_renewed_while_the_work_runs(stub: Stub, tollgate: Tollgate) -> None:
    def renewed(run: Run) -> None:
        wait_until(lambda: run.stopped or len(stub.acts("extend")) >= 5)
        run.checkpoint()
        run.settle(cost_usd="0.01")

    for seconds in LEASES:
        stub.asked.clear()
        stub.answers("extend", Answer(503, {"error": "busy"}), extended(lease=seconds))
        with suppress(StopRun), digest(tollgate, lease_seconds=seconds) as run:
            renewed(run)
        if not run.stopped:
            break
    assert not run.stopped
    renewals = stub.acts("extend")
    assert all(asked.body == {"leaseSeconds": seconds} for asked in renewals)
    assert renewals[0].key == renewals[1].key
    assert len({asked.key for asked in renewals}) == len(renewals) - 1


def test_the_service_may_give_a_shorter_lease(stub: Stub, tollgate: Tollgate) -> None:
    for seconds in LEASES:
        stub.answers("start", admitted(lease=seconds))
        with digest(tollgate, lease_seconds=900) as run:
            wait_until(lambda: run.stopped or stub.acts("extend"))
        if not run.stopped:
            break
    assert stub.acts("extend")


STOPS = [
    (refused(403, "kill_switch", "stopped by an operator"), "kill_switch"),
    (refused(401, "token", "token revoked"), "token"),
    (Answer(404, {"error": "no such run"}), "finished"),
    (Answer(409, {"error": "run is finished"}), "finished"),
    (refused(409, "run_ended", "the run has been finished"), "finished"),
    (refused(409, "suspended", "the work order is suspended"), "suspended"),
]


@pytest.mark.parametrize(("answer", "reason"), STOPS)
def test_a_renewal_that_says_no_stops_the_work(
    stub: Stub, tollgate: Tollgate, answer: Answer, reason: str
) -> None:
    stub.answers("extend", answer)
    assert how_it_stopped(stub, tollgate, step_by_step).reason == reason
    assert len(stub.acts("extend")) == 1
    assert stub.acts("finish")[0].body == {"status": "error", "costUsd": "0.02"}


@pytest.mark.parametrize(("answer", "reason"), STOPS)
def test_an_extension_that_says_no_stops_the_work(
    stub: Stub, tollgate: Tollgate, answer: Answer, reason: str
) -> None:
    stub.answers("extend", answer)
    with pytest.raises(StopRun) as caught, digest(tollgate, interrupt=True) as run:
        run.extend("0.01")
    assert caught.value.reason == reason


def test_no_more_money_does_not_stop_the_work(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers("extend", refused(429, "usd_per_day", "budget cap reached", reset=600))
    with digest(tollgate) as run:
        with pytest.raises(Refused):
            run.extend("5")
        run.checkpoint()
        assert run.reserved_usd == Decimal("0.05")


@pytest.mark.parametrize(
    "answer", [Answer(503, {"error": "busy"}), refused(429, "address_rate", "quota reached")]
)
def test_a_lease_that_runs_out_stops_the_work(
    stub: Stub, tollgate: Tollgate, answer: Answer
) -> None:
    stub.answers("extend", answer)

    def work() -> None:
        with digest(tollgate, lease_seconds=1) as run:
            step_by_step(run)

    def stopped() -> StopRun:
        with pytest.raises(StopRun) as caught:
            work()
        return caught.value

    stop, seconds = timed(stopped)
    assert stop.reason == "lease_lost"
    assert seconds > 0.9  # not before the lease was over


def test_the_work_itself_is_interrupted_where_it_opted_in(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers("extend", refused(403, "kill_switch", "stopped by an operator"))
    stop = how_it_stopped(stub, tollgate, lambda run: busy(), interrupt=True)
    assert (stop.reason, stop.error) == ("kill_switch", "stopped by an operator")
    assert stub.acts("finish")[0].body["status"] == "error"


def test_without_it_the_work_goes_on_to_its_next_checkpoint(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers("extend", refused(403, "kill_switch", "stopped by an operator"))
    with digest(tollgate, lease_seconds=1) as run:
        wait_until(lambda: run.stopped)
        run.settle(cost_usd="0.01")
    assert stub.acts("finish")[0].body["status"] == "success"


def test_nothing_is_interrupted_after_the_run(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers("extend", refused(403, "kill_switch", "stopped by an operator"))

    def left_before_the_renewal() -> bool:
        stub.asked.clear()
        with suppress(StopRun), digest(tollgate, lease_seconds=1, interrupt=True) as run:
            run.settle(cost_usd="0.01")
        busy(0.6)
        return not stub.acts("extend")

    wait_until(left_before_the_renewal)


def test_a_stop_in_the_last_moment_leaves_nothing_behind(stub: Stub, tollgate: Tollgate) -> None:
    stopped = 0
    for _ in range(50):
        run = digest(tollgate, interrupt=True)
        try:
            with run:
                run.stop("kill_switch", "stopped")
        except StopRun:
            stopped += 1
        assert run.stopped
        busy(0.001)
    assert stopped + len(stub.acts("finish")) >= 50


def test_a_run_is_entered_once(tollgate: Tollgate) -> None:
    run = digest(tollgate)
    with pytest.raises(RuntimeError):
        _ = run.id
    with run, pytest.raises(RuntimeError):
        run.__enter__()
