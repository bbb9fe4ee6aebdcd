"""A limit with a name keeps the counters of that name alone, and those are what is verified."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets.admission import counters
from budgets.controls import features
from budgets.models import Budget, Counter
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import make_price, set_limit
from tests.guardrails.conftest import NOON

pytestmark = pytest.mark.usefixtures("committed_db")

NAMED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("user", {"user_id": "vip"}, {"user_id": "joe"}),
    ("surface", {"surface": "vip"}, {"surface": "joe"}),
    ("feature", {"feature": "vip"}, {"feature": "joe"}),
    ("agent", {"agent": "vip"}, {"agent": "joe"}),
    ("model", {"model": "vip"}, {"model": "joe"}),
]


@pytest.fixture(autouse=True)
def no_other_limit_of_users(committed_db: str) -> None:
    """The shipped ones are for each user: they cover everybody."""
    Budget.objects.filter(scope="user").delete()
    Counter.objects.filter(scope="user").delete()


def work(desk: Desk, *asks: dict[str, Any]) -> None:
    """One that is settled and one that runs, of each."""
    for ask in asks:
        desk.finish(run_of(desk.start(usd="0.10", **ask)), "0.05")
        desk.start(usd="0.10", **ask)


@pytest.mark.parametrize(("scope", "vip", "joe"), NAMED)
@pytest.mark.parametrize("window", ["rolling_hour", "day", "month"])
def test_others_are_neither_counted_nor_missed(
    desk: Desk, scope: str, vip: dict[str, Any], joe: dict[str, Any], window: str
) -> None:
    work(desk, vip, joe)  # what its window holds when the limit is made
    set_limit(scope, window, "usd", "5.00", subject="vip")
    work(desk, vip, joe)
    set_clock(NOON + timedelta(minutes=2))
    work(desk, vip, joe)
    assert not list(counters.differences())
    counted = Counter.objects.filter(scope=scope, window=window)
    assert {row.subject for row in counted} == {"vip"}
    assert sum(row.reserved_usd + row.settled_usd for row in counted) == Decimal("0.45")


def test_a_difference_of_the_named_one_is_still_found(desk: Desk) -> None:
    set_limit("user", "day", "usd", "5.00", subject="vip")
    work(desk, {"user_id": "vip"}, {"user_id": "joe"})
    Counter.objects.filter(scope="user", subject="vip").update(settled_usd=Decimal("9.00"))
    (found,) = counters.differences()
    assert (found.subject, found.recomputed.settled_usd) == ("vip", Decimal("0.05"))
    counters.repair(by="test", reason="test")
    assert not list(counters.differences())


def test_one_for_each_after_one_for_a_name_counts_all(desk: Desk) -> None:
    set_limit("user", "day", "usd", "5.00", subject="vip")
    work(desk, {"user_id": "vip"}, {"user_id": "joe"})
    set_limit("user", "day", "usd", "1.00")
    assert not list(counters.differences())
    assert Counter.objects.get(scope="user", subject="joe").settled_usd == Decimal("0.05")
    Budget.objects.filter(scope="user", subject="*", window="day").delete()
    work(desk, {"user_id": "vip"}, {"user_id": "joe"})
    assert not list(counters.differences())


def test_tiers_and_features_are_named_too(desk: Desk) -> None:
    make_price("big", tier="largest")
    make_price("mid", tier="middle")
    Budget.objects.filter(scope="model_tier", subject="middle").delete()
    features.change("capped", {"cost_cap_usd": Decimal(5)}, reason="test", by="ops")
    features.change("slow", {"requests_per_period": 9, "period": "day"}, reason="test", by="ops")
    for ask in ({"model": "big"}, {"model": "mid"}, *({"feature": f} for f in ("capped", "slow"))):
        work(desk, {**ask, "user_id": "u"})
    assert not list(counters.differences())
    shown = set(Counter.objects.values_list("scope", "subject"))
    assert ("feature", "capped") in shown
    assert ("feature", "slow") not in shown
    assert ("feature_user", "slow\x1fu") in shown
    assert ("model_tier", "w1\x1flargest") in shown
