"""A refusal is remembered for what was refused, and for nothing else. On the real service."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from client.python.tollgate_client import Refused, Run, Tollgate
from client.python.tollgate_client.asks import Ask, RefusalMemory
from opslog.database.another_database import connected_to
from tests.factories import set_limit

from .harness import Gate, Real


@pytest.fixture
def tollgate(real: Real, gate: Gate) -> Iterator[Tollgate]:
    with Tollgate(gate.url, real.token) as client:
        yield client


@pytest.fixture
def limit(real: Real, django_db_blocker: DjangoDbBlocker) -> Iterator[Callable[..., None]]:
    made: list[tuple[str, str, str, str]] = []

    def make(scope: str, window: str, measure: str, amount: object, subject: str = "") -> None:
        made.append((scope, window, measure, subject))
        write(scope, window, measure, amount, subject)

    def write(scope: str, window: str, measure: str, amount: object, subject: str) -> None:
        with (
            django_db_blocker.unblock(),
            connected_to(real.owner_url.rsplit("/", 1)[1]),
            transaction.atomic(),
        ):
            set_limit(scope, window, measure, amount, subject=subject)  # type: ignore[arg-type]

    yield make
    for each in made:
        write(*each[:3], None, each[3])


def ask(tollgate: Tollgate, usd: str = "0.05", **options: Any) -> Run:
    options.setdefault("agent", "digest-1")
    with tollgate.run("limited", estimated_cost_usd=usd, **options) as run:
        run.settle(cost_usd=usd)
    return run


def refused(tollgate: Tollgate, usd: str = "0.05", **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        ask(tollgate, usd, **options)
    return caught.value


SCOPES = [
    ("model", "model", "gpt-4o", "gpt-4o-mini"),
    ("agent", "agent", "digest-1", "digest-2"),
    ("feature", "feature", "trips", "hotels"),
    ("user", "user_id", "ann", "ben"),
    ("surface", "surface", "cli", "web"),
]


@pytest.mark.parametrize(("scope", "name", "one", "other"), SCOPES)
def test_a_refusal_of_one_does_not_stop_the_others(
    gate: Gate, tollgate: Tollgate, limit: Callable[..., None],
    scope: str, name: str, one: str, other: str,
) -> None:  # fmt: skip
    limit(scope, "day", "usd", "0.01", one)
    first = refused(tollgate, **{name: one})
    denial = "user_quota" if scope == "user" else f"budget:{scope}:day"
    assert (first.denial, first.subject) == (denial, f"{scope}:{one}")
    assert not first.remembered
    ask(tollgate, **{name: other})
    if name != "agent":
        ask(tollgate)
    asked = gate.asked("start")
    again = refused(tollgate, **{name: one})
    assert again.remembered == (scope != "user")
    assert again.subject == first.subject
    assert gate.asked("start") == asked + (scope == "user")


def test_the_subject_is_named_in_any_script(tollgate: Tollgate, limit: Callable[..., None]) -> None:
    limit("feature", "day", "usd", "0.01", "reisepläne: 東京")
    error = refused(tollgate, feature="Reisepläne:  東京")
    assert error.subject == "feature:reisepläne: 東京"
    assert "東京" in str(error)


def test_a_limit_of_everything_names_no_subject(
    gate: Gate, tollgate: Tollgate, limit: Callable[..., None]
) -> None:
    limit("global", "month", "usd", "0.01")
    assert refused(tollgate).subject == "global"
    # Another agent is under it, too; a cheaper request may fit.
    assert refused(tollgate, agent="digest-2").remembered
    assert not refused(tollgate, "0.04").remembered


def test_fewer_tokens_may_fit(gate: Gate, tollgate: Tollgate, limit: Callable[..., None]) -> None:
    """A limit in tokens says nothing about one that costs as much and reads less."""
    limit("model", "day", "tokens", 1000, "gpt-4o")
    options: dict[str, Any] = {"model": "gpt-4o", "estimated_output_tokens": 0}
    assert not refused(tollgate, estimated_input_tokens=2000, **options).remembered
    assert refused(tollgate, estimated_input_tokens=2000, **options).remembered
    ask(tollgate, estimated_input_tokens=10, **options)


def test_what_a_settlement_gave_back_is_asked_for(
    gate: Gate, tollgate: Tollgate, limit: Callable[..., None]
) -> None:
    limit("agent", "day", "usd", "0.10", "digest-3")
    with tollgate.run("limited", agent="digest-3", estimated_cost_usd="0.08") as run:
        assert not refused(tollgate, agent="digest-3").remembered
        assert refused(tollgate, agent="digest-3").remembered
        run.settle(cost_usd="0.01")
    ask(tollgate, agent="digest-3")  # $0.01 and $0.05 of $0.10


def test_a_key_of_an_admitted_run_is_asked_for(
    tollgate: Tollgate, limit: Callable[..., None]
) -> None:
    key = str(uuid4())
    with tollgate.run(
        "limited", agent="digest-4", estimated_cost_usd="0.05", idempotency_key=key
    ) as run:
        limit("agent", "day", "usd", "0.01", "digest-4")
        assert not refused(tollgate, agent="digest-4").remembered
        assert refused(tollgate, agent="digest-4").remembered
        again = tollgate.run(
            "limited", agent="digest-4", estimated_cost_usd="0.05", idempotency_key=key
        )
        with again:
            assert again.id == run.id
            again.settle(cost_usd="0.05")
        run.settle(cost_usd="0.05")
    other = str(uuid4())
    assert not refused(tollgate, agent="digest-4", idempotency_key=other).remembered
    assert refused(tollgate, agent="digest-4", idempotency_key=other).remembered


def test_a_raise_reaches_a_running_program() -> None:
    """60 seconds after a refusal everything is asked again, whatever its reset is."""
    now = [1000.0]
    memory = RefusalMemory(recheck_after=60.0, clock=lambda: now[0])
    one = Ask(work_order_id="w", agent="a", estimated_cost_usd=Decimal(1))
    refusal = Refused(status=429, denial="usd_per_day", error="budget cap reached")
    memory.remember(one, refusal, seconds=7200)
    now[0] += 59
    known = memory.recall(one)
    assert known is not None
    assert known.retry_after == 7141
    now[0] += 1
    assert memory.recall(one) is None


FIELDS = [
    ("budget:model:day", "model"),
    ("budget:model_tier:day", "model"),
    ("budget:agent:hour", "agent"),
    ("budget:feature:month", "feature"),
    ("budget:feature_user:day", "user_id"),
    ("budget:surface:day", "surface"),
    ("budget:tenant:day", "user_id"),  # a scope of a later service: all fields count
]


@pytest.mark.parametrize(("denial", "field"), FIELDS)
def test_every_scope_has_its_field(denial: str, field: str) -> None:
    memory = RefusalMemory(recheck_after=60.0)
    common = {
        "work_order_id": "w", "agent": "a", "model": "m", "feature": "f", "surface": "s",
        "user_id": "u", "estimated_cost_usd": Decimal(1),
    }  # fmt: skip
    one = Ask(**common)  # type: ignore[arg-type]
    refusal = Refused(status=429, denial=denial, error="no")
    memory.remember(one, refusal, seconds=600)
    assert memory.recall(one) is not None
    assert memory.recall(Ask(**{**common, field: "other"})) is None  # type: ignore[arg-type]
    assert memory.recall(Ask(**{**common, "work_order_id": "v"})) is None  # type: ignore[arg-type]
