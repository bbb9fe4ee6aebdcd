"""What a run reports is what it costs: added up, in the shapes of the SDKs, and never too low."""

import logging
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from client.python.tollgate_client import Run, Tollgate, Usage, usage_of

from .harness import Gate, Real

MINI = "gpt-4o-mini"  # $0.15 and $0.60 a million tokens, cached $0.075
SONNET = "claude-sonnet-4-5"  # $3 and $15, cached $0.30, written $3.75, for an hour $6


@pytest.fixture
def tollgate(real: Real) -> Tollgate:
    return real.tollgate


def spent(tollgate: Tollgate, **options: Any) -> Run:
    return tollgate.run("spent", agent="digest-1", estimated_cost_usd="0.05", **options)


def objects(data: Any) -> Any:
    """As an SDK has it: attributes, and None for what is not there."""
    if isinstance(data, dict):
        return SimpleNamespace(**{name: objects(value) for name, value in data.items()})
    return data


CHAT = {
    "model": MINI,
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 50},
    },
}
RESPONSE = {
    "model": MINI,
    "service_tier": "default",
    "usage": {
        "input_tokens": 1000,
        "output_tokens": 200,
        "total_tokens": 1200,
        "input_tokens_details": {"cached_tokens": 600},
        "output_tokens_details": {"reasoning_tokens": 50},
    },
}
MESSAGE = {
    "model": SONNET,
    "usage": {
        "input_tokens": 300,
        "cache_read_input_tokens": 600,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 200,
        "service_tier": "standard",
        "server_tool_use": None,
    },
}
GEMINI = {
    "modelVersion": "gemini-2.5-flash",
    "usageMetadata": {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 600,
        "candidatesTokenCount": 150,
        "thoughtsTokenCount": 50,
        "totalTokenCount": 1200,
    },
}
GEMINI_OBJECT = {
    "model_version": "gemini-2.5-flash",
    "usage_metadata": {
        "prompt_token_count": 1000,
        "cached_content_token_count": 600,
        "candidates_token_count": 150,
        "thoughts_token_count": 50,
    },
}
# 400 × 0.15 + 600 × 0.075 + 200 × 0.60 = 225 millionths
# 300 × 3 + 600 × 0.30 + 60 × 3.75 + 40 × 6 + 200 × 15 = 900 + 180 + 225 + 240 + 3,000 = 4,545
SHAPES = [
    ("chat completion", CHAT, "0.000225"),
    ("response", RESPONSE, "0.000225"),
    ("message", MESSAGE, "0.004545"),
]


@pytest.mark.parametrize("shape", [dict, objects])
@pytest.mark.parametrize(("name", "answer", "cost"), SHAPES)
def test_answers_of_sdks_as_they_come(
    real: Real, tollgate: Tollgate, shape: Any, name: str, answer: Any, cost: str
) -> None:
    with spent(tollgate) as run:
        run.spent(shape(answer))
    assert real.run(run.id) == ("success", Decimal(cost))


@pytest.mark.parametrize("act", ["spent", "settle"])
def test_the_usage_of_anthropic_alone(real: Real, tollgate: Tollgate, act: str) -> None:
    """It has no model, and leaves the cached input out: passed through, it was minus 42 %."""
    with spent(tollgate) as run:
        if act == "spent":
            run.spent(objects(MESSAGE["usage"]), model=SONNET)
        else:
            run.settle(usage=objects(MESSAGE["usage"]), model=SONNET)
    assert real.run(run.id) == ("success", Decimal("0.004545"))


@pytest.mark.parametrize("answer", [GEMINI, GEMINI_OBJECT])
def test_google_counts_thoughts_apart(answer: dict[str, Any]) -> None:
    assert usage_of(answer) == Usage(
        model="gemini-2.5-flash",
        input_tokens=1000,
        output_tokens=200,
        cached_input_tokens=600,
        reasoning_tokens=50,
    )


def test_the_model_of_the_run_is_that_of_a_bare_usage(real: Real, tollgate: Tollgate) -> None:
    with spent(tollgate, model=MINI) as run:
        run.spent(CHAT["usage"])
    assert real.run(run.id) == ("success", Decimal("0.000225"))


def test_every_call_adds(real: Real, tollgate: Tollgate) -> None:
    with spent(tollgate) as run:
        for _ in range(3):
            run.spent(CHAT)
    assert real.run(run.id) == ("success", Decimal("0.000675"))
    with spent(tollgate) as run:
        for _ in range(3):
            run.spent(cost_usd="0.01")
    assert real.run(run.id) == ("success", Decimal("0.03"))


def test_settle_sets_the_total_and_says_so(
    real: Real, tollgate: Tollgate, caplog: pytest.LogCaptureFixture
) -> None:
    """Called per call it would undercount in silence. A total in dollars never falls."""
    caplog.set_level(logging.WARNING, "tollgate_client")
    with spent(tollgate) as run:
        run.settle(cost_usd="0.01")
        assert not caplog.records
        run.settle(cost_usd="0.03")
        run.settle(cost_usd="0.02")
        run.spent(cost_usd="0.005")
    (warning,) = caplog.records
    assert run.id in warning.getMessage()
    assert "spent() adds" in warning.getMessage()
    assert real.run(run.id) == ("success", Decimal("0.035"))


@pytest.mark.parametrize("usage", [None, {"model": MINI, "usage": None}, {}, "1200", 3])
def test_a_usage_that_is_unknown_costs_the_reservation(
    real: Real, tollgate: Tollgate, caplog: pytest.LogCaptureFixture, usage: Any
) -> None:
    """As the chunks of a stream without include_usage; whatever else is known of the run."""
    with spent(tollgate) as run:
        run.spent(usage)
        run.spent(cost_usd="0.01")
    assert "the usage of a call is unknown" in caplog.text
    assert real.run(run.id) == ("success", Decimal("0.05"))
    with spent(tollgate) as run:
        run.spent(usage)
        run.spent(cost_usd="0.07")
    assert real.run(run.id) == ("success", Decimal("0.07"))


def test_a_run_that_fell_back_to_another_model(real: Real, tollgate: Tollgate) -> None:
    """Finish takes one model. Both are priced at their list prices, without discounts:
    1,000 × 0.15 + 200 × 0.60 = 270; written tokens as a quarter, and as much again, of input:
    (1,000 + 15 + 40) × 3 + 200 × 15 = 6,165 millionths."""
    with spent(tollgate) as run:
        run.spent(CHAT)
        run.spent(MESSAGE)
        run.spent(cost_usd="0.01")
    assert real.run(run.id) == ("success", Decimal("0.016435"))


def test_one_of_several_models_has_no_price(real: Real, tollgate: Tollgate) -> None:
    with spent(tollgate) as run:
        run.spent(CHAT)
        run.spent(CHAT | {"model": "a-model-of-nobody"})
    assert real.run(run.id) == ("success", Decimal("0.05"))


def test_the_service_is_away_where_prices_are_asked_for(real: Real, gate: Gate) -> None:
    from .harness import QUICK

    with Tollgate(gate.url, real.token, agent="digest-1", retry=QUICK) as tollgate:
        gate.only, gate.closed = "check", 400
        with tollgate.run("spent", estimated_cost_usd="0.05") as run:
            run.spent(CHAT)
            run.spent(MESSAGE)
    assert real.run(run.id) == ("success", Decimal("0.05"))


@pytest.mark.parametrize("wait", [30.0, 0.0])
def test_usage_that_the_service_does_not_take_leaves_no_open_run(
    real: Real, wait: float, caplog: pytest.LogCaptureFixture
) -> None:
    """More cached than all input is no usage: it is settled at its reservation instead."""
    broken = Usage(model=MINI, input_tokens=10, cached_input_tokens=20, output_tokens=1)
    with Tollgate(real.url, real.token, settle_wait=wait) as tollgate:
        with spent(tollgate, on_settle_error="raise" if wait else "journal") as run:
            run.spent(broken)
        tollgate.flush(60)
    assert "does not take the usage" in caplog.text
    assert real.run(run.id) == ("success", Decimal("0.05"))


def test_cancelling_what_was_spent_is_ignored(
    real: Real, tollgate: Tollgate, caplog: pytest.LogCaptureFixture
) -> None:
    with spent(tollgate) as run:
        run.spent(cost_usd="0.01")
        run.cancel()
    assert "cancel() is ignored" in caplog.text
    assert real.run(run.id) == ("success", Decimal("0.01"))


@pytest.mark.parametrize(("usage", "cost"), [(CHAT, "1"), (..., None)])
def test_either_usage_or_dollars(tollgate: Tollgate, usage: Any, cost: str | None) -> None:
    given = {} if usage is ... else {"usage": usage}
    with spent(tollgate) as run:
        for act in (run.spent, run.settle):
            with pytest.raises(ValueError, match="either"):
                act(**given, cost_usd=cost)
        with pytest.raises(TypeError, match="float"):
            run.spent(cost_usd=0.1)  # type: ignore[arg-type]
        run.settle(cost_usd="0.01", usage=None)
        assert run.reported.usd == Decimal("0.01")


def test_an_agent_is_needed(
    real: Real, tollgate: Tollgate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOLLGATE_AGENT", raising=False)
    with pytest.raises(ValueError, match="TOLLGATE_AGENT"):
        tollgate.run("spent")
    monkeypatch.setenv("TOLLGATE_AGENT", "digest-1")
    with Tollgate(real.url, real.token) as other, other.run("spent") as run:
        run.cancel()
    assert run.ask.agent == "digest-1"
