"""The triage's verdict, turned into what an incident keeps."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslog.incidents.translating import finding_of
from opslog.triage.attribution import Element
from opslog.triage.data import Change, Comparison, Detail
from opslog.triage.decompose import Decomposition
from opslog.triage.normal import DAY, Baseline
from opslog.triage.recompute import Recompute, TriggerShare
from opslog.triage.tokens import TokenFigures, Tokens
from opslog.triage.toolcalls import ToolFigures
from opslog.triage.verdict import Contribution, Evidence, Ranked, Verdict
from tests.incidents.findings import AT, HOUR


def figures(average: float) -> TokenFigures:
    return TokenFigures(100, average, average * 2)


def element(dimension: str, name: str, usd: float, before: float) -> Element:
    return Element(dimension, name, usd, before, 400.0, (usd - before) / 40, 0.4, 0.6, 0.1)


EVIDENCE = Evidence(
    hours=tuple((AT - n * HOUR, 15.0, 5.0) for n in (4, 3, 2, 1)),
    baseline=Baseline(20.0, DAY, 3, 1.0),
    decomposition=Decomposition(40.0, 41.0, 0.0, 0.0, 0.0, -1.0),
    recompute=Recompute(
        0.5,
        0.2,
        (
            TriggerShare("undo", 160.0, 32.0, share=0.4, share_before=0.1),
            TriggerShare("retry", 40.0, 4.0, share=0.1, share_before=0.1),
        ),
    ),
    tokens=Tokens(figures(900), figures(300), figures(9), figures(9), growth=None),
    attribution={
        "feature": (element("feature", "chat", 52.0, 12.0),),
        "model": (element("model", "new", 40.0, 0.0), element("model", "old", 1.0, 16.0)),
        "user": (element("user", "u1", 24.0, 4.0),),
    },
    tools=(
        ToolFigures(
            "chat", "search", calls=100.0, failures=50.0, retries=100.0, retry_usd=8.0,
            failure_rate_before=0.1, retries_per_call_before=0.25,
        ),
    ),
)  # fmt: skip
# Four hours, $60 where $20 is usual.
SPIKE = Verdict(
    until=AT,
    confirmed=True,
    raised=True,
    start=AT - timedelta(hours=4),
    cause="hidden_recompute",
    feature="chat",
    confidence=0.9,
    cost_usd=Decimal(60),
    baseline_usd=Decimal(20),
    contributions=(
        Contribution("hidden_recompute", "chat", Decimal(36)),
        Contribution("hidden_recompute", "mail", Decimal(3)),
        Contribution("other", "", Decimal(1)),
    ),
    ranked=(Ranked("hidden_recompute", 1.0, "chat"),),
    sentences=("It is undo.",),
    evidence=EVIDENCE,
)


@pytest.mark.parametrize(
    "fields", [{"confirmed": False}, {"raised": False}, {"start": None}, {"cost_usd": Decimal(20)}]
)
def test_nothing_to_record(fields: dict[str, Any]) -> None:
    assert finding_of(replace(SPIKE, **fields)) is None


def test_per_hour_and_by_name() -> None:
    hours = Comparison(AT - 4 * HOUR, AT, AT - 8 * HOUR, AT - 4 * HOUR, "chat")
    detail = Detail(hours, users=7)
    found = finding_of(replace(SPIKE, tool="search"), detail)
    assert found is not None
    assert (found.cost_usd_per_hour, found.baseline_usd_per_hour) == (Decimal(15), Decimal(5))
    assert [(part.name, part.usd_per_hour) for part in found.contributions] == [
        ("hidden_recompute", 9),
        ("hidden_recompute:mail", Decimal("0.75")),
        ("other", Decimal("0.25")),
    ]
    assert found.explained == 9
    assert found.parts.trigger_excess == {"undo": 6}  # three quarters of $32 in four hours
    assert found.parts.retry_usd == Decimal("1.5")
    assert (found.parts.feature_usd, found.parts.normal_feature_usd) == (Decimal(13), Decimal(3))
    assert (found.parts.requests, found.parts.users, found.parts.user_hours) == (100, 7, 4)
    assert found.parts.previous_model == "old"
    assert [(each.name, each.excess) for each in found.parts.suspects] == [("u1", Decimal(5))]
    assert [each.cause for each in found.ranked] == ["hidden_recompute"]
    assert [each.step for each in found.evidence] == [
        "confirm", "traffic", "hidden", "tokens", "attribution", "tools",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "actor", "change", "kind"),
    [
        ("traffic_growth", "user_agent", "", "bot"),
        ("traffic_growth", "user", "", "abuse"),
        ("traffic_growth", "", "campaign", "campaign"),
        ("feature_dominance", "", "deploy", ""),
        ("context_bloat", "user", "campaign", ""),
    ],
)
def test_the_kind_of_traffic(cause: str, actor: str, change: str, kind: str) -> None:
    found = finding_of(
        replace(
            SPIKE,
            cause=cause,
            actor=element(actor, "x", 24.0, 4.0) if actor else None,
            changes=(Change(AT, change, "x"),) if change else (),
        )
    )
    assert found is not None
    assert found.traffic == kind


@given(st.lists(st.decimals("-5", "50", places=6), max_size=5), st.integers(1, 30))
def test_the_parts_sum_to_the_change_whatever_is_rounded(parts: list[Decimal], hours: int) -> None:
    result = replace(
        SPIKE,
        start=AT - hours * HOUR,
        contributions=tuple(
            Contribution("context_bloat", str(n), usd) for n, usd in enumerate(parts)
        ),
    )
    found = finding_of(result)
    assert found is not None
    total = sum((part.usd_per_hour for part in found.contributions), Decimal(0))
    assert total == found.excess_usd_per_hour
