"""Each guardrail in the one decision: its answer, its event, its alert, and what cures it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets import tasks
from budgets.admission import counters
from budgets.controls import breaker, features, kill_switch
from budgets.exceptions import Refused
from budgets.models import Alert, CircuitBreaker, Counter, FeatureControl, RunCharge
from opslog.models import OperationsEvent
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import make_price, make_work_order, set_limit
from tests.guardrails.conftest import NOON
from workorders.models import ServiceToken, WorkOrder

pytestmark = pytest.mark.usefixtures("committed_db")


def agree() -> None:
    assert list(counters.differences()) == []


def hours() -> dict[int, Counter]:
    rows = Counter.objects.filter(scope="global", window="hour")
    return {row.starts_at.hour: row for row in rows}


# scope, how an ask names its subject, another subject
NAMED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("surface", {"surface": "chat"}, {"surface": "cli"}),
    ("feature", {"feature": "digest"}, {"feature": "other"}),
    ("model", {"model": "m-1"}, {"model": "m-2"}),
    ("agent", {"agent": "a-1"}, {"agent": "a-2"}),
    ("user", {"user_id": "u-1"}, {"user_id": "u-2"}),
]


WINDOWS = ["rolling_minute", "minute", "rolling_hour", "hour", "day", "month"]


@pytest.mark.parametrize("name", ["a:b", "*", "user:*", ":"])
def test_a_name_may_be_made_of_what_keys_are_made_of(desk: Desk, name: str) -> None:
    set_limit("user", "day", "usd", "1.00")
    set_limit("user", "day", "usd", "2.00", subject="a")
    assert desk.start(usd="0.60", user_id=name).status == 201
    assert desk.start(usd="0.41", user_id=name).denial == "user_quota"
    assert desk.start(usd="1.00", user_id="other").status == 201
    agree()


def test_a_limit_of_models_does_not_cover_who_names_none(desk: Desk) -> None:
    set_limit("model", "day", "usd", "0.10")
    set_limit("model_tier", "open", "runs", 1, subject="middle")
    for _ in range(2):
        assert desk.start(usd="0.60").status == 201
    agree()


@pytest.mark.parametrize(("scope", "one", "another"), NAMED)
@pytest.mark.parametrize(
    "window", ["rolling_minute", "minute", "rolling_hour", "hour", "day", "month"]
)
def test_each_subject_has_a_budget_of_its_own(
    desk: Desk, scope: str, one: dict[str, Any], another: dict[str, Any], window: str
) -> None:
    set_limit(scope, window, "usd", "1.00")
    assert desk.start(usd="0.60", **one).status == 201
    decision = desk.start(usd="0.41", **one)
    assert decision.status == 429
    denial = "user_quota" if scope == "user" else f"budget:{scope}:{window}"
    assert decision.denial == denial
    assert decision.error == ("quota reached" if scope == "user" else "global budget reached")
    assert decision.retry_after is not None
    assert desk.start(usd="0.40", **one).status == 201
    assert desk.start(usd="1.00", **another).status == 201
    agree()


def test_a_row_for_a_name_wins(desk: Desk) -> None:
    set_limit("user", "day", "usd", "1.00")
    set_limit("user", "day", "usd", "3.00", subject="vip")
    assert desk.start(usd="2.00", user_id="u-1").denial == "user_quota"
    assert desk.start(usd="2.00", user_id="vip").status == 201
    assert desk.start(usd="2.00").status == 201  # who names no user has no user's quota


def test_teams_and_cost_dimensions_are_those_of_the_work_order(desk: Desk) -> None:
    WorkOrder.objects.filter(pk="w1").update(team="search", cost_dimension="compute")
    make_work_order("w2", usd_per_day="1000.00", max_concurrent_runs=10)
    set_limit("team", "day", "usd", "1.00")
    set_limit("cost_dimension", "month", "usd", "5.00", subject="compute")
    assert desk.start("w1", usd="1.01").denial == "budget:team:day"
    assert desk.start("w2", usd="7.00", confirm=True).status == 201
    set_limit("team", "day", "usd", None)
    assert desk.start("w1", usd="5.01", confirm=True).denial == "budget:cost_dimension:month"
    agree()


def test_sixty_requests_in_any_sixty_seconds(desk: Desk) -> None:
    set_limit("user", "rolling_minute", "requests", 60)
    for _ in range(60):
        assert desk.start(usd="0.01", user_id="u").status == 201
    decision = desk.start(usd="0.01", user_id="u")
    assert (decision.status, decision.denial) == (429, "user_quota")
    assert decision.retry_after is not None
    assert 58 <= decision.retry_after <= 65
    set_clock(NOON + timedelta(seconds=59))  # the next minute of the clock: still the same 60 s
    assert desk.start(usd="0.01", user_id="u").denial == "user_quota"
    set_clock(NOON + timedelta(seconds=decision.retry_after))
    assert desk.start(usd="0.01", user_id="u").status == 201
    agree()


def test_tokens_are_reserved_and_settled(desk: Desk) -> None:
    make_price("m-1", "0.000001", "0.000001")
    set_limit("user", "day", "tokens", 1000)
    first = desk.start(usd="0.01", model="m-1", estimated_input_tokens=900, user_id="u")
    assert (
        desk.start(usd="0.01", model="m-1", estimated_input_tokens=101, user_id="u").denial
        == "user_quota"
    )
    desk.finish(run_of(first), status="cancelled")
    row = Counter.objects.get(scope="user", window="day")
    assert (row.reserved_tokens, row.settled_tokens) == (0, 900)
    agree()


def test_the_largest_tier_runs_alone_in_a_work_order(desk: Desk) -> None:
    make_price("big", tier="largest")
    make_price("mid", tier="middle")
    make_work_order("w2", usd_per_day="1000.00", max_concurrent_runs=10)
    set_limit("model_tier", "open", "runs", 1, subject="largest")
    set_limit("model_tier", "open", "runs", 2, subject="middle")
    first = desk.start(usd="0.01", model="big", lease_seconds=60)
    assert desk.start(usd="0.01", model="big").denial == "concurrency"
    assert desk.start("w2", usd="0.01", model="big").status == 201
    assert desk.start(usd="0.01", model="mid").status == 201
    assert desk.start(usd="0.01", model="nobody-priced-this").status == 201
    assert desk.start(usd="0.01", model="mid").denial == "concurrency"
    set_clock(NOON + timedelta(seconds=61))  # the first never reported: its lease frees the tier
    assert desk.start(usd="0.01", model="big").status == 201
    assert desk.finish(run_of(first), usd="0.01").status == 200
    agree()


def test_a_budget_made_later_knows_what_its_window_holds(desk: Desk) -> None:
    run = desk.start(usd="2.00", feature="digest")
    desk.start(usd="1.00", feature="digest")
    set_limit("feature", "hour", "usd", "3.50")
    assert desk.start(usd="0.51", feature="digest").denial == "budget:feature:hour"
    desk.finish(run_of(run), usd="0.50")
    assert desk.start(usd="2.00", feature="digest").status == 201
    agree()


def test_an_extension_is_charged_to_the_present_hour_and_the_day_of_the_start(desk: Desk) -> None:
    set_limit("global", "hour", "usd", "10.00")
    set_limit("global", "day", "usd", "10.00")
    set_clock(datetime(2026, 3, 14, 23, 50, tzinfo=UTC))
    run = run_of(desk.start(usd="4.00", lease_seconds=3600))
    set_clock(datetime(2026, 3, 15, 0, 10, tzinfo=UTC))
    assert desk.start(usd="4.90").status == 201
    assert desk.extend(run, usd="5.20").denial == "budget:global:hour"
    assert desk.extend(run, usd="5.00").status == 200
    by_hour = {
        row.starts_at.hour: row for row in Counter.objects.filter(scope="global", window="hour")
    }
    assert by_hour[23].reserved_usd == Decimal("4.00")
    assert by_hour[0].reserved_usd == Decimal("9.90")
    desk.extend(run, usd="0.05")
    agree()
    desk.finish(run, usd="11.00")  # 9.05 reserved: 1.95 beyond all of it, now
    by_hour = {
        row.starts_at.hour: row for row in Counter.objects.filter(scope="global", window="hour")
    }
    assert by_hour[23].settled_usd == Decimal("4.00")
    assert by_hour[0].settled_usd == Decimal("7.00")
    assert RunCharge.objects.get(kind="overrun").settled_usd == Decimal("1.95")
    assert desk.start(usd="0.01").denial == "budget:global:hour"
    agree()


def test_a_run_that_cost_less_gives_back_in_turn(desk: Desk) -> None:
    set_limit("global", "hour", "usd", "100.00")
    run = run_of(desk.start(usd="4.00", lease_seconds=7200))
    set_clock(NOON + timedelta(hours=1))
    desk.extend(run, usd="3.00")
    desk.finish(run, usd="5.00")
    by_hour = {
        row.starts_at.hour: row for row in Counter.objects.filter(scope="global", window="hour")
    }
    settled = (by_hour[12].settled_usd, by_hour[13].settled_usd)
    assert settled == (Decimal("4.00"), Decimal("1.00"))
    agree()


def test_the_kill_switch_of_everything_of_a_surface_of_an_identity(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.10", surface="chat", user_id="u-1", agent="a-1"))
    prefix = ServiceToken.objects.get().prefix
    for scope, target in (
        ("Global", None),
        ("Surface", "chat"),
        ("Identity", "u-1"),
        ("Identity", "agent:a-1"),
        ("Identity", f"token:{prefix}"),
    ):
        kill_switch.switch(scope, target, enabled=True, reason="test", by="ops")
        ask = {"usd": "0.10", "surface": "chat", "user_id": "u-1", "agent": "a-1"}
        decision = desk.start(**ask)
        assert (decision.status, decision.denial) == (403, "kill_switch"), target
        assert OperationsEvent.objects.latest().kind == "START_REFUSED"
        assert desk.extend(run, usd="0.01").status == 403
        assert desk.extend(run, lease=60).status == 403
        other = desk.start(usd="0.10", surface="cli", user_id="u-2", agent="a-2")
        stopped = scope == "Global" or (target or "").startswith("token:")
        assert (other.status == 403) is stopped
        kill_switch.switch(scope, target, enabled=False, reason="over", by="ops")
        assert desk.start(**ask).status == 201
        assert desk.extend(run, lease=60).status == 200
    kinds = OperationsEvent.objects.filter(kind="KILL_SWITCH_CHANGE")
    assert kinds.count() == 10
    assert {event.actor for event in kinds} == {"ops"}
    assert desk.finish(run, usd="0.10").status == 200  # always possible


def test_finishing_is_possible_whatever_is_switched_off(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.10"))
    kill_switch.switch("Global", None, enabled=True, reason="test", by="ops")
    breaker.trip("global", "", reason="test", by="ops")
    assert desk.finish(run, usd="0.10").status == 200


@pytest.mark.parametrize(
    ("scope", "target"), [("Global", "x"), ("Surface", ""), ("Identity", None), ("Nobody", "x")]
)
def test_a_bad_target_is_refused(desk: Desk, scope: str, target: str | None) -> None:
    with pytest.raises(Refused):
        kill_switch.switch(scope, target, enabled=True, reason="test", by="ops")
    with pytest.raises(Refused):
        kill_switch.switch("Global", None, enabled=True, reason=" ", by="ops")


def set_breaker(trips: str = "5.00", warns: str = "2.00") -> None:
    set_limit("global", "rolling_minute", "usd", trips, warning_amount=warns)


def state() -> str:
    return CircuitBreaker.objects.get(scope="global").state


def test_the_breaker_warns_trips_probes_and_closes(desk: Desk) -> None:
    set_breaker()
    desk.start(usd="1.90")
    assert not Alert.objects.exists()
    desk.start(usd="0.20")
    assert Alert.objects.get().meta["thresholdName"] == "warning"
    assert desk.start(usd="2.90").status == 201  # 5.00 to the cent
    decision = desk.start(usd="0.01")
    assert (decision.status, decision.denial, decision.retry_after) == (503, "breaker_open", 300)
    assert state() == "open"
    opened = OperationsEvent.objects.get(kind="BREAKER_OPENED")
    assert "$5.00" in opened.message
    set_clock(NOON + timedelta(seconds=299))
    assert desk.start(usd="0.01").retry_after == 1
    set_clock(NOON + timedelta(seconds=300))
    assert desk.start(usd="0.01", dry_run=True).status == 200
    assert state() == "open"  # a dry run is no probe
    probe = desk.start(usd="0.01")
    assert probe.status == 201
    assert state() == "half_open"
    assert desk.start(usd="0.01").denial == "breaker_open"
    desk.finish(run_of(probe), usd="0.01")
    assert state() == "closed"
    assert desk.start(usd="0.01").status == 201
    kinds = list(OperationsEvent.objects.order_by("id").values_list("kind", flat=True))
    transitions = [kind for kind in kinds if kind.startswith("BREAKER_")]
    assert transitions == ["BREAKER_OPENED", "BREAKER_HALF_OPEN", "BREAKER_CLOSED"]
    agree()


@pytest.mark.parametrize("ends", ["error", "expired", "cancelled"])
def test_a_probe_that_proves_nothing(desk: Desk, ends: str) -> None:
    set_breaker()
    breaker.trip("global", "", reason="test", by="ops")
    set_clock(NOON + timedelta(seconds=301))
    probe = run_of(desk.start(usd="0.01", lease_seconds=30))
    if ends == "expired":
        set_clock(NOON + timedelta(seconds=332))
    else:
        desk.finish(probe, usd="0.01", status=ends)
    decision = desk.start(usd="0.01")
    if ends == "cancelled":
        assert decision.status == 201  # the next one probes
        assert state() == "half_open"
    else:
        assert (decision.denial, decision.retry_after) == ("breaker_open", 300)
        assert state() == "open"
    agree()


def test_a_refused_ask_trips_nothing_and_a_costly_one_may_have_a_minute(desk: Desk) -> None:
    set_breaker()
    make_work_order("poor", usd_per_day="1.00")
    assert desk.start("poor", usd="4.00").denial == "usd_per_day"
    assert desk.start(usd="5.01").denial == "confirm"
    assert state() == "closed"
    assert desk.start(usd="6.00", confirm=True).status == 201
    assert desk.start(usd="6.00", confirm=True).denial == "breaker_open"
    assert state() == "closed"  # it waits for a minute of its own
    assert desk.start(usd="0.01").denial == "breaker_open"
    assert state() == "open"


def test_a_bill_beyond_the_reservation_trips(desk: Desk) -> None:
    set_breaker()
    run = run_of(desk.start(usd="0.10"))
    desk.finish(run, usd="5.20")
    assert state() == "open"
    agree()


def test_errors_in_a_row_trip_the_breaker_of_the_work_order_alone(desk: Desk) -> None:
    make_work_order("w2", max_concurrent_runs=10)
    for number in range(10):
        run = run_of(desk.start(usd="0.01"))
        desk.finish(run, usd="0.01", status="success" if number in (2, 5) else "error")
    decision = desk.start(usd="0.01")
    assert (decision.status, decision.denial) == (503, "breaker_open")
    assert desk.start("w2", usd="0.01").status == 201
    assert "8 of the last 10" in CircuitBreaker.objects.get(subject="w1").reason
    breaker.reset("work_order", "w1", reason="mended", by="ops")
    run = run_of(desk.start(usd="0.01"))
    desk.finish(run, usd="0.01", status="error")
    assert desk.start(usd="0.01").status == 201  # the old errors count no more


def test_breakers_are_switched_with_a_reason(desk: Desk) -> None:
    with pytest.raises(Refused):
        breaker.trip("global", "", reason=" ", by="ops")
    with pytest.raises(Refused):
        breaker.reset("global", "", reason="x", by="ops")
    with pytest.raises(Refused):
        breaker.trip("work_order", "nobody", reason="x", by="ops")


def test_a_feature_switched_off_by_sql_holds_from_the_next_start_on(desk: Desk) -> None:
    features.change("digest", {}, reason="to be watched", by="ops")
    assert desk.start(usd="0.01", feature="digest").status == 201
    FeatureControl.objects.filter(feature="digest").update(enabled=False)
    assert OperationsEvent.objects.latest().kind == "FEATURE_CHANGE"
    decision = desk.start(usd="0.01", feature="digest")
    assert (decision.status, decision.denial) == (403, "feature_off")
    assert desk.start(usd="0.01", feature="other").status == 201


def test_a_throttle_is_each_users_and_of_those_who_name_none(desk: Desk) -> None:
    features.change("digest", {"requests_per_period": 2}, reason="throttle", by="ops")
    for user in ("u-1", "u-2", ""):
        assert desk.start(usd="0.01", feature="digest", user_id=user).status == 201
        assert desk.start(usd="0.01", feature="digest", user_id=user).status == 201
        decision = desk.start(usd="0.01", feature="digest", user_id=user)
        assert (decision.status, decision.denial) == (429, "feature_rate")
    agree()


def test_a_cost_cap_switches_its_feature_off_once(desk: Desk) -> None:
    features.change("digest", {"cost_cap_usd": Decimal("1.00")}, reason="cap", by="ops")
    run = run_of(desk.start(usd="0.90", feature="digest"))
    dry = desk.start(usd="0.20", feature="digest", dry_run=True)
    assert '"feature_rate"' in dry.body
    assert desk.start(usd="0.20", feature="digest").denial == "feature_rate"
    assert FeatureControl.objects.get().enabled
    assert desk.start(usd="0.10", feature="digest").status == 201
    assert not FeatureControl.objects.get().enabled
    assert desk.start(usd="0.01", feature="digest").denial == "feature_off"
    assert desk.extend(run, usd="0.01").denial == "feature_off"
    assert desk.extend(run, lease=60).status == 200
    assert Alert.objects.filter(kind="feature_switched_off").count() == 1
    agree()


def test_levers_have_bounds_and_limits_are_not_raised(desk: Desk) -> None:
    features.change("digest", {"requests_per_period": 5, "max_rounds": 3}, reason="x", by="ops")
    for values in ({"max_rounds": 0}, {"requests_per_period": 6}, {"requests_per_period": None},
                   {"period": "rolling_minute"}, {"round_timeout_ms": 1}):  # fmt: skip
        with pytest.raises(Refused):
            features.change("digest", values, reason="x", by="ops")
    with pytest.raises(Refused):
        features.change("digest", {"max_rounds": 2}, reason="", by="ops")
    assert features.control_of("digest").max_rounds == 3


def test_expired_runs_settle_their_slots(desk: Desk) -> None:
    set_limit("global", "rolling_hour", "usd", "10.00")
    run = run_of(desk.start(usd="2.00", lease_seconds=10))
    desk.extend(run, usd="1.00")
    set_clock(NOON + timedelta(minutes=20))
    assert tasks.expire_leases() == 1
    agree()
    desk.finish(run, usd="0.50")
    assert desk.start(usd="9.50", confirm=True).status == 201
    agree()
