"""The first page and the page of the burn rate: what they say of limits, ranges and stops."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from budgets import approvals
from budgets.controls import breaker, features, kill_switch
from budgets.models import Counter, FeatureControl
from budgets.usage import burn_rate, stopped
from config.pages.dashboard import Choice, charts
from opslog import liveness
from opslog.models import OperationsEvent
from opslog.telemetry import change_markers
from tests import factories
from tests.access.walking import logged_in
from tests.admin.scene import ask, make_run

NOBODYS = ((), ())
Shown = Callable[..., str]


@pytest.fixture
def make_page(db: None) -> Shown:
    """As operations sees it."""
    client = logged_in(factories.make_user("on-call", groups=["operations"], is_staff=True))
    return lambda query="": client.get(f"/ops-dashboard{query}").content.decode()


def commit_a_minute(usd: str) -> None:
    """So many dollars in the last seconds, as everything together has them."""
    now = timezone.now()
    for window, slot in (("rolling_minute", 5), ("rolling_hour", 60)):
        starts = now - timedelta(seconds=now.timestamp() % slot)
        Counter.objects.create(
            key=f"{window}:{int(starts.timestamp())}:global:",
            scope="global",
            subject="",
            window=window,
            starts_at=starts,
            settled_usd=Decimal(usd),
        )


@pytest.mark.django_db
def test_a_pace_below_the_rolling_hour_never_reaches_it() -> None:
    factories.set_limit("global", "rolling_hour", "usd", 10)
    commit_a_minute("0.0237")
    (reach,) = (each for each in burn_rate.now().limits if each.budget.window == "rolling_hour")
    assert (reach.used_usd, reach.seconds) == (Decimal("0.0237"), None)


def write_refusal(kind: str, reason: str, times: int = 1) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO operations_events (kind, meta)"
            " SELECT %s, jsonb_build_object('reason', %s::text) FROM generate_series(1, %s)",
            [kind, reason, times],
        )


@pytest.mark.django_db
def test_refusals_are_charted_by_the_limit_that_refused(make_page: Shown) -> None:
    for kind, reason, times in (
        ("RATE_LIMIT_429", "concurrency", 3),
        ("START_REFUSED", "suspended", 2),
        ("EXTENSION_REFUSED", "breaker_open", 1),
    ):
        write_refusal(kind, reason, times)
    chart = charts(Choice.of({}), timezone.now())["second_chart"]
    assert [(each.name, sum(each.values)) for each in chart.series] == [
        ("concurrent runs", 3),
        ("suspended", 2),
        ("breaker open", 1),
    ]
    assert len(chart.columns) == 24
    assert "concurrent runs" in make_page("?span=1h").split('id="card-second"')[1]


@pytest.mark.django_db
def test_the_address_chooses_and_what_it_does_not_know_is_left(make_page: Shown) -> None:
    assert Choice.of({"by": "user", "window": "1m", "span": "30d", "tab": "latency"}) == Choice(
        "user", "1m", "30d", "model", "latency"
    )
    assert Choice.of({"by": "planet", "window": "<b>"}) == Choice.of({})
    page = make_page("?by=user&window=today")
    assert 'href="?by=agent&amp;window=today"' in page
    assert 'href="?by=user&amp;window=1h"' in page
    assert 'name="next"' not in page, "nothing burns, so nothing can be stopped"


@pytest.mark.django_db
def test_only_changes_of_what_is_shown_are_drawn() -> None:
    now = timezone.now()
    make_run(factories.make_work_order(), feature="chat", started_at=now, cost=1, status="success",
        finished_at=now)  # fmt: skip
    for feature in ("chat", "editor", ""):
        change_markers.record_change(kind="deploy", what=f"of {feature}", by="ops", now=now,
            feature=feature, happened_at=now - timedelta(minutes=1))  # fmt: skip
    marks = charts(Choice.of({}), now)["spend_chart"].marks
    assert {each.text for each in marks} == {"deploy: of chat (chat)", "deploy: of "}


@pytest.mark.django_db
def test_who_is_told_and_which_process_is_silent_is_said(make_page: Shown) -> None:
    page = make_page()
    assert "Nobody would be notified" in page
    assert "The log was never verified" in page
    liveness.beat(liveness.WORKER)
    assert "The job worker is silent" not in make_page()


@pytest.mark.django_db
def test_whoever_decides_sees_what_waits_for_others() -> None:
    asker = factories.make_user("asker", groups=["operations"], is_staff=True)
    request = ask(factories.make_work_order(), asker)
    assert approvals.waiting_for(asker) == []
    page = logged_in(asker).get("/ops-dashboard").content.decode()
    assert f"#{request.pk} " in page.split("Waiting for others")[1]


@pytest.mark.django_db
def test_what_is_blocked_besides_work_orders() -> None:
    factories.lift_limits()
    now = timezone.now()
    features.change("digest", {}, reason="x", by="ops")
    FeatureControl.objects.update(enabled=False)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    limit = factories.set_limit("user", "day", "requests", 5)
    factories.set_limit("user", "day", "requests", 9, subject="eva")
    for user, runs in (("ann", 5), ("ben", 4), ("eva", 8)):
        Counter.objects.create(
            key=f"day:{int(midnight.timestamp())}:user:{user}",
            scope="user", subject=user, window="day", starts_at=midnight, runs=runs,
        )  # fmt: skip
    factories.set_limit("global", "rolling_hour", "usd", 1)
    commit_a_minute("1.50")
    Counter.objects.filter(window="rolling_hour").update(runs=1)
    found = stopped.stopped(*NOBODYS, at_most=8)
    assert [(each.what, each.why) for each in found] == [
        ("feature digest", "switched off"),
        ("everything", "US dollars in any 60 minutes used up"),
        ("user ann", "requests a day (UTC) used up"),
    ]
    assert found[0].until is None
    assert now < found[1].until <= now + timedelta(minutes=61)  # type: ignore[operator]
    assert found[2].until == midnight + timedelta(days=1)
    assert found[2].href == f"/admin/budgets/budget/{limit.pk}/change/"


@pytest.mark.django_db
def test_stops_by_hand_are_among_what_is_blocked() -> None:
    kill_switch.switch("Surface", "batch", enabled=True, reason="x", by="ops")
    kill_switch.switch("Global", "", enabled=True, reason="too much at once", by="dana")
    breaker.trip("global", "", reason="x", by="ops")
    page = logged_in(factories.make_user("op", groups=["operations"], is_staff=True)).get(
        "/ops-dashboard"
    )
    alarms = page.content.decode().split('id="card-alarms"')[1].split("</ul>")[0]
    assert "everything is stopped" in alarms
    assert "by dana" in alarms
    card = page.content.decode().split('id="card-blocked"')[1].split("</section>")[0]
    assert "one surface batch" in card
    assert "until somebody lifts it" in card
    assert "circuit breaker" in card
    assert OperationsEvent.objects.filter(kind="BREAKER_SWITCHED").exists()
