"""What a label means, where the demo has no case of it: each with the figure worked out by hand."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connections

from budgets.controls import breaker, limits
from budgets.evidence.limits import Denials
from budgets.finops.reviews import figures
from budgets.models import Alert, Budget
from budgets.usage import burn_rate, stopped, today
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.desk import Desk, install_clock, run_of, set_clock

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture
def desk(committed_db: str) -> Desk:
    install_clock()
    set_clock(NOON)
    factories.lift_limits()
    factories.make_work_order(usd_per_day="100.00", runs_per_day=100, max_concurrent_runs=50)
    return Desk()


def of_each_user(amount: str, **more: str) -> Budget:
    return factories.set_limit("user", "day", "usd", amount, **more)


def test_used_now_is_of_the_one_who_uses_most(desk: Desk) -> None:
    """Three runs of ten cents by one, one of $1.10 by another."""
    limit = of_each_user("5.00")
    for _ in range(3):
        desk.start(usd="0.10", user_id="ann")
    desk.finish(run_of(desk.start(usd="1.10", user_id="ben")), "1.10")
    use = limits.use_of([limit.pk])[limit.pk]
    assert (use.subject, use.used) == ("ben", Decimal("1.10"))


def test_who_has_a_limit_of_his_own_is_not_under_the_one_for_each(desk: Desk) -> None:
    limit, own = of_each_user("5.00"), of_each_user("4.00", subject="vip")
    desk.start(usd="0.10", user_id="ann")
    desk.start(usd="3.00", user_id="vip")
    uses = limits.use_of([limit.pk, own.pk])
    assert (uses[limit.pk].subject, uses[limit.pk].held) == ("ann", Decimal("0.10"))
    assert (uses[own.pk].subject, uses[own.pk].held) == ("vip", Decimal("3.00"))


def reach_of(limit: Budget) -> burn_rate.Reach:
    return next(each for each in burn_rate.now().limits if each.budget.pk == limit.pk)


def test_a_limit_of_each_is_reached_at_the_pace_of_one(desk: Desk) -> None:
    """$0.90 of $1.00 was used an hour ago by one who is idle. Another took $0.40 in this minute: at
    $0.40 a minute the $0.60 that are left to him last 90 seconds."""
    limit = of_each_user("1.00")
    set_clock(NOON - timedelta(hours=1))
    desk.finish(run_of(desk.start(usd="0.90", user_id="idle")), "0.90")
    set_clock(NOON)
    assert (reach_of(limit).subject, reach_of(limit).seconds) == ("idle", None)
    desk.start(usd="0.40", user_id="busy")
    found = reach_of(limit)
    assert (found.subject, found.held_usd, found.seconds) == ("busy", Decimal("0.40"), 90)


def test_an_extension_and_direct_spend_are_part_of_the_pace(desk: Desk) -> None:
    """$0.30 long before; $0.20 by an extension now: $0.50 of $1.00 at $0.20 a minute is 150 s."""
    limit = of_each_user("1.00")
    set_clock(NOON - timedelta(minutes=30))
    run = run_of(desk.start(usd="0.30", user_id="ann", lease_seconds=7200))
    set_clock(NOON)
    desk.extend(run, "0.20")
    assert reach_of(limit).seconds == 150


def test_a_limit_of_each_in_a_rolling_hour(desk: Desk) -> None:
    """$6.00 half an hour ago leave the hour in 31 minutes; $0.10 a minute never makes $10.00."""
    limit = factories.set_limit("feature", "rolling_hour", "usd", "10.00")
    set_clock(NOON - timedelta(minutes=30))
    desk.start(usd="6.00", feature="chat", confirm=True)
    set_clock(NOON)
    desk.start(usd="0.10", feature="chat")
    assert (reach_of(limit).used_usd, reach_of(limit).seconds) == (Decimal("6.10"), None)
    desk.start(usd="1.90", feature="chat")
    assert reach_of(limit).seconds == 60  # $2.00 more at $2.00 a minute


def test_what_is_reserved_is_told_apart(desk: Desk) -> None:
    limit = factories.set_limit("global", "day", "usd", "50.00")
    desk.finish(run_of(desk.start(usd="0.50")), "0.40")
    desk.start(usd="0.25")
    found = reach_of(limit)
    assert (found.settled_usd, found.held_usd) == (Decimal("0.40"), Decimal("0.25"))


def test_a_cancelled_run_may_overrun_and_an_unknown_cost_proves_no_estimate(desk: Desk) -> None:
    """Costs ÷ reservations: 0.5 of one that is priced. A cancelled one took $0.30 more."""
    desk.finish(run_of(desk.start(usd="0.20")), "0.10")
    desk.finish(run_of(desk.start(usd="0.20")), "0.50", status="cancelled")
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "UPDATE work_order_runs SET cost_note = 'unpriced' WHERE id = %s", [_settled(desk)]
        )
    found = today.calibration("w1")
    assert (found.settled_runs, found.priced_runs, found.ratio_p50) == (3, 1, 0.5)
    assert (found.overruns, found.overrun_usd) == (1, Decimal("0.30"))


def _settled(desk: Desk) -> str:
    run = run_of(desk.start(usd="0.20"))
    desk.finish(run, "0.20")
    return run


def test_percentiles_are_interpolated(desk: Desk) -> None:
    """Of 0.2, 0.4, 0.6 and 0.8 the median is 0.5, and the 95th percentile 0.77."""
    for usd in ("0.20", "0.40", "0.60", "0.80"):
        desk.finish(run_of(desk.start(usd="1.00")), usd)
    found = today.calibration("w1")
    assert (found.ratio_p50, found.ratio_p95) == pytest.approx((0.5, 0.77))


@pytest.mark.parametrize(
    ("row", "own"),
    [
        ({"cap": "20"}, True),
        ({"cap": "20.00"}, True),
        ({"cap": "25"}, True),  # what it was before
        ({"cap": "2"}, False),  # another limit's amount
        ({"cap": "20", "limit": "8"}, False),  # the record names another one
        ({"cap": "2", "limit": "7"}, True),
        ({"cap": "20", "own": 20}, False),  # the work order's own limit was looked at first
        ({"cap": ""}, True),
        ({"cap": "20", "reason": "usd_per_day"}, False),
    ],
)
def test_whose_refusal_it_was(row: dict[str, object], own: bool) -> None:
    denials = Denials(("concurrency",), "7", frozenset({Decimal(20), Decimal(25)}))
    data = {"reason": "concurrency", "limit": "", "cap": "", "feature": "", "own": 2, **row}
    assert denials.cover(data) == own


def test_a_refusal_that_names_its_feature_is_no_other_features() -> None:
    denials = Denials(
        ("feature_rate", "feature_off"), feature="chat", amounts=frozenset({Decimal(5)})
    )
    data = {"reason": "feature_rate", "limit": "", "cap": "5", "own": 2}
    assert denials.cover({**data, "feature": "chat"})
    assert not denials.cover({**data, "feature": "search"})
    assert denials.cover({**data, "feature": ""})
    assert not denials.cover({**data, "feature": "", "cap": "9"})


def test_an_open_breaker_whose_time_is_over_blocks_nothing(desk: Desk) -> None:
    breaker.trip("global", "", reason="fire drill", by="ops")
    (found,) = breaker.not_closed()
    assert [each.why for each in stopped.stopped([], [found], at_most=5)] == ["circuit breaker"]
    set_clock(found.half_open_at)
    (found,) = breaker.not_closed()
    assert found.due
    assert stopped.stopped([], [found], at_most=5) == []


def alert(key: str, at: datetime, **meta: str) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO alerts (kind, key, message, owner_type, owner_id, actor, meta, created_at)"
            " VALUES ('dimension_tier', %s, %s, 'dimension_budget', '1', 'test', %s, %s)",
            [key, key, json.dumps(meta), at],
        )


def test_a_review_has_the_alerts_about_its_month(committed_db: str) -> None:
    """A tier of October that a bill of November 1st has reached is October's, not November's."""
    alert("in October", datetime(2026, 10, 31, 23, 59, tzinfo=UTC))
    alert("of October", datetime(2026, 11, 1, 0, 10, tzinfo=UTC), month="2026-10")
    alert("of September", datetime(2026, 10, 1, 0, 10, tzinfo=UTC), month="2026-09")
    alert("in November", datetime(2026, 11, 1, 0, 10, tzinfo=UTC))
    assert Alert.objects.count() == 4
    data = {
        month: sorted(each["message"] for each in figures.take(date(2026, month, 1))["alerts"])
        for month in (9, 10, 11)
    }
    assert data == {
        9: ["of September"],
        10: ["in October", "of October"],
        11: ["in November"],
    }


def test_a_refusal_names_the_limit_that_refused(desk: Desk) -> None:
    """Two limits of the same amount and words: one day's $1.00 of each user, and of one feature."""
    of_user, of_feature = of_each_user("1.00"), factories.set_limit("feature", "day", "usd", "1.00")
    desk.start(usd="0.90", user_id="ann")
    desk.start(usd="0.90", feature="chat")
    assert desk.start(usd="0.20", user_id="ann").denial == "user_quota"
    assert desk.start(usd="0.20", feature="chat").denial == "budget:feature:day"
    run = run_of(desk.start(usd="0.05", feature="chat"))
    assert desk.extend(run, "0.20").denial == "budget:feature:day"
    refused = OperationsEvent.objects.filter(kind="RATE_LIMIT_429").order_by("id")
    assert [(each.meta.get("budgetId"), each.meta.get("feature")) for each in refused] == [
        (of_user.pk, None),
        (of_feature.pk, "chat"),
        (of_feature.pk, "chat"),
    ]
