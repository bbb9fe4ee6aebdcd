"""The triage's verdict, turned into what an incident keeps. Stand-ins have the verdict's names."""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace as Thing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslog.incidents.translating import finding_of
from tests.incidents.findings import HOUR
from tests.incidents.test_rules import AT


def figures(average: float) -> Thing:
    return Thing(average=average, p95=average * 2)


def element(dimension: str, name: str, usd: float, before: float) -> Thing:
    return Thing(
        dimension=dimension, name=name, usd=usd, usd_before=before, requests=400.0,
        explains=(usd - before) / 40, surprise=0.4,
    )  # fmt: skip


def verdict(**told: Any) -> Thing:
    """Four hours, $60 where $20 is usual."""
    evidence = Thing(
        hours=tuple((AT - n * HOUR, 15.0, 5.0) for n in (4, 3, 2, 1)),
        decomposition=Thing(parts={"requests": 41.0, "price": -1.0}),
        recompute=Thing(
            share=0.5,
            share_before=0.2,
            triggers=(
                Thing(trigger_type="undo", hidden=True, usd=32.0, share=0.4, share_before=0.1),
                Thing(trigger_type="retry", hidden=True, usd=4.0, share=0.1, share_before=0.1),
            ),
        ),
        tokens=Thing(
            input=figures(900), input_before=figures(300), output=figures(9),
            output_before=figures(9), growth=None,
        ),
        attribution={
            "feature": (element("feature", "chat", 52.0, 12.0),),
            "model": (element("model", "new", 40.0, 0.0), element("model", "old", 1.0, 16.0)),
            "user": (element("user", "u1", 24.0, 4.0),),
        },
        tools=(
            Thing(
                tool="search", feature="chat", calls=100.0, failure_rate=0.5,
                failure_rate_before=0.1, retry_usd=8.0, retries_per_call=1.0,
                retries_per_call_before=0.25,
            ),
        ),
    )  # fmt: skip
    columns: dict[str, Any] = {
        "until": AT, "confirmed": True, "raised": True, "start": AT - timedelta(hours=4),
        "hours": 4,
        "cause": "hidden_recompute", "feature": "chat", "tool": None, "confidence": 0.9,
        "cost_usd": Decimal(60), "baseline_usd": Decimal(20), "change_usd": Decimal(40),
        "contributions": (
            Thing(cause="hidden_recompute", feature="chat", tool="", usd=Decimal(36)),
            Thing(cause="hidden_recompute", feature="mail", tool="", usd=Decimal(3)),
            Thing(cause="other", feature="", tool="", usd=Decimal(1)),
        ),
        "ranked": (
            Thing(cause="hidden_recompute", usd=Decimal(39), share=1.0, feature="chat", tool=None),
            Thing(cause="output_growth", usd=Decimal(0), share=0.0, feature=None, tool=None),
        ),
        "actor": None, "changes": (), "sentences": ("It is undo.",), "evidence": evidence,
    }  # fmt: skip
    return Thing(**{**columns, **told})


@pytest.mark.parametrize(
    "told", [{"confirmed": False}, {"raised": False}, {"start": None}, {"cost_usd": Decimal(20)}]
)
def test_nothing_to_record(told: dict[str, Any]) -> None:
    assert finding_of(verdict(**told)) is None


def test_per_hour_and_by_name() -> None:
    detail = Thing(counts=[Thing(dimension="user", names=7)])
    found = finding_of(verdict(tool="search"), detail)
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
    assert (found.parts.requests, found.parts.users) == (100, 7)
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
        verdict(
            cause=cause,
            actor=Thing(dimension=actor) if actor else None,
            changes=[Thing(at=AT, kind=change, what="x", feature="")] if change else (),
        )
    )
    assert found is not None
    assert found.traffic == kind


@given(st.lists(st.decimals("-5", "50", places=6), max_size=5), st.integers(1, 30))
def test_the_parts_sum_to_the_change_whatever_is_rounded(parts: list[Decimal], hours: int) -> None:
    told = verdict(
        hours=hours,
        contributions=[
            Thing(cause="context_bloat", feature=str(n), tool="", usd=usd)
            for n, usd in enumerate(parts)
        ],
    )
    found = finding_of(told)
    assert found is not None
    total = sum((part.usd_per_hour for part in found.contributions), Decimal(0))
    assert total == found.excess_usd_per_hour
