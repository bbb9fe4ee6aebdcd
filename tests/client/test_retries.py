"""What is retried, what is not, and what is remembered."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from client.python.tollgate_client import (
    InvalidRequest,
    Refused,
    RetryPolicy,
    Tollgate,
    Unavailable,
)
from tests.waiting import HANG_SECONDS, timed

from .stub import RESET, Answer, Stub, admitted, refused, stub_service

TOKEN = "tg_a-secret-that-must-not-leak"
QUICK = RetryPolicy(first_wait=0.01, longest_wait=1.0, total=HANG_SECONDS)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_service() as service:
        yield service


@pytest.fixture
def tollgate(stub: Stub) -> Iterator[Tollgate]:
    with Tollgate(stub.url, TOKEN, retry=QUICK) as client:
        yield client


def ask(tollgate: Tollgate, usd: str = "0.05") -> None:
    with tollgate.run("digest", agent="digest-1", estimated_cost_usd=usd) as run:
        run.settle(cost_usd="0.031")


@pytest.mark.parametrize(
    "trouble",
    [
        RESET,
        Answer(502, {"error": "bad gateway"}),
        Answer(503, {"error": "database unavailable"}),
        Answer(503, {"error": "database unavailable"}, {"Retry-After": "0"}),
        Answer(504, {"error": "too slow"}),
        refused(503, "breaker_open", "circuit breaker open", retry=0),
    ],
)
def test_trouble_is_retried_with_the_same_key(
    stub: Stub, tollgate: Tollgate, trouble: Answer
) -> None:
    stub.answers("start", trouble, trouble, admitted())
    stub.answers("finish", trouble, stub.script["finish"][0])
    ask(tollgate)
    ask(tollgate)
    starts = stub.acts("start")
    assert len(starts) == 4
    assert len({start.key for start in starts[:3]}) == 1
    assert starts[3].key != starts[0].key
    assert len(stub.acts("finish")) == 3


def test_a_short_retry_after_is_waited_for_and_a_long_one_ends_it(
    stub: Stub, tollgate: Tollgate
) -> None:
    stub.answers("start", Answer(503, {"error": "busy"}, {"Retry-After": "1"}), admitted())
    _, waited = timed(lambda: ask(tollgate))
    assert waited >= 1
    stub.answers("start", Answer(503, {"error": "busy"}, {"Retry-After": "30"}))
    with pytest.raises(Unavailable):
        ask(tollgate)
    assert len(stub.acts("start")) == 3


def test_an_open_breaker_is_waited_for_but_not_for_ever(stub: Stub) -> None:
    patient = RetryPolicy(first_wait=0.01, longest_wait=0.02, breaker_wait=2, total=HANG_SECONDS)
    stub.answers("start", refused(503, "breaker_open", "open", retry=1), admitted())
    with Tollgate(stub.url, TOKEN, retry=patient) as tollgate:
        ask(tollgate)
        stub.answers("start", refused(503, "breaker_open", "open", retry=3))
        with pytest.raises(Refused) as caught:
            ask(tollgate)
    assert (caught.value.denial, caught.value.retry_after) == ("breaker_open", 3)


def test_nobody_answers() -> None:
    with stub_service() as gone:
        url = gone.url
    with Tollgate(url, TOKEN, retry=QUICK) as tollgate, pytest.raises(Unavailable):
        ask(tollgate)


def test_closing_ends_a_wait_at_once(stub: Stub) -> None:
    stub.answers("start", Answer(503, {"error": "busy"}, {"Retry-After": "7200"}))
    slow = RetryPolicy(longest_wait=9000, total=9000)
    tollgate = Tollgate(stub.url, TOKEN, retry=slow)
    seen: list[BaseException] = []

    def work() -> None:
        try:
            ask(tollgate)
        except Unavailable as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    stub.wait_for("start", 1)
    tollgate.close()
    thread.join(HANG_SECONDS)
    assert not thread.is_alive()
    assert seen


@pytest.mark.parametrize(
    ("status", "denial"),
    [
        (403, "kill_switch"),
        (403, "unknown_agent"),
        (404, "unknown_work_order"),
        (409, "suspended"),
        (422, "unpriced_model"),
        (428, "confirm"),
    ],
)
def test_a_refusal_is_raised_and_never_retried(
    stub: Stub, tollgate: Tollgate, status: int, denial: str
) -> None:
    stub.answers("start", refused(status, denial, "no", retry=5, reset=5))
    for asked in (1, 2):
        with pytest.raises(Refused) as caught:
            ask(tollgate)
        assert (caught.value.status, caught.value.denial) == (status, denial)
        assert not caught.value.remembered
        assert len(stub.acts("start")) == asked
    assert not stub.acts("finish")


@pytest.mark.parametrize("denial", ["usd_per_day", "budget:global:day"])
def test_a_cap_is_remembered_until_its_reset(stub: Stub, tollgate: Tollgate, denial: str) -> None:
    stub.answers(
        "start", refused(429, denial, "budget cap reached", retry=86400, reset=600), admitted()
    )
    with pytest.raises(Refused) as first:
        ask(tollgate, "0.05")
    assert first.value.retry_after == 86400
    assert first.value.reset_at is not None
    for dearer in ("0.05", "0.50"):
        with pytest.raises(Refused) as again:
            ask(tollgate, dearer)
        assert again.value.remembered
        assert again.value.reset_at == first.value.reset_at
        assert again.value.retry_after is not None
        assert 0 < again.value.retry_after < 602  # The Date header has whole seconds.
    assert len(stub.acts("start")) == 1
    ask(tollgate, "0.01")
    assert len(stub.acts("start")) == 2


def test_a_runs_cap_blocks_every_ask_until_it_is_forgotten(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers(
        "start", refused(429, "runs_per_day", "runs/day cap reached", reset=600), admitted()
    )
    for usd in ("0.05", "0.01"):
        with pytest.raises(Refused):
            ask(tollgate, usd)
    assert len(stub.acts("start")) == 1
    with tollgate.run("another", agent="digest-1"):
        pass
    tollgate.forget_refusals("digest")
    ask(tollgate)
    assert len(stub.acts("start")) == 3


@pytest.mark.parametrize(
    ("options", "asked"),
    [({"remember_refusals": False}, 2), ({"recheck_refusals_after": 0.0}, 2), ({}, 1)],
)
def test_the_memory_is_configurable(stub: Stub, options: dict[str, Any], asked: int) -> None:
    stub.answers("start", refused(429, "runs_per_day", "runs/day cap reached", reset=600))
    with Tollgate(stub.url, TOKEN, **options) as tollgate:
        for _ in range(2):
            with pytest.raises(Refused):
                ask(tollgate)
    assert len(stub.acts("start")) == asked


def test_bad_input_names_the_field(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers(
        "start", Answer(400, {"error": "bad input", "fields": {"agentName": ["too long"]}})
    )
    with pytest.raises(InvalidRequest, match="agentName: too long") as caught:
        ask(tollgate)
    assert caught.value.fields == {"agentName": ["too long"]}


def test_a_page_of_a_proxy_is_no_admission(stub: Stub, tollgate: Tollgate) -> None:
    stub.answers("start", Answer(201, {"hello": "world"}))
    with pytest.raises(Unavailable, match="not the contract's"):
        ask(tollgate)


def test_the_token_is_sent_and_shown_nowhere(
    stub: Stub, tollgate: Tollgate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stub.answers("start", RESET, Answer(403, {"error": "no such token"}))
    with pytest.raises(Refused) as caught:
        ask(tollgate)
    assert stub.asked[0].token == f"Bearer {TOKEN}"
    shown = caplog.text + repr(tollgate) + repr(vars(tollgate)) + repr(caught.value)
    assert TOKEN not in shown
    with pytest.raises(ValueError, match="characters") as wrong:
        Tollgate(stub.url, TOKEN + "\n")
    assert TOKEN not in str(wrong.value)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://user:secret@127.0.0.1"]
)
def test_a_wrong_url_is_refused_without_repeating_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOLLGATE_URL", raising=False)
    with pytest.raises(ValueError, match="URL") as caught:
        Tollgate(url, TOKEN)
    assert "secret" not in str(caught.value)


def test_url_and_token_come_from_the_environment(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_URL", stub.url)
    monkeypatch.setenv("TOLLGATE_TOKEN", TOKEN)
    with Tollgate() as tollgate:
        ask(tollgate)
    assert stub.asked[0].token == f"Bearer {TOKEN}"
