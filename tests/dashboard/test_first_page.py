"""The first page and the page of the burn rate: what they say of limits, ranges and stops."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from budgets import approvals, breaker, burn_rate, features, killswitch, last_day, standstill
from budgets.models import Counter, FeatureControl
from config.dashboard import figures
from opslog.models import OperationsEvent
from tests import factories
from tests.access.walking import logged_in
from tests.admin.scene import ask, make_run

NOBODYS = ((), ())


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
@pytest.mark.parametrize(("minutes", "counted"), [(24 * 60 - 1, 1), (24 * 60 + 1, 0)])
def test_24_hours_are_24_hours_to_the_second(minutes: int, counted: int) -> None:
    make_run(factories.make_work_order(), started_at=timezone.now())
    write_refusal("RATE_LIMIT_429", "runs_per_day")
    found = last_day.last_day(timezone.now() + timedelta(minutes=minutes))
    assert (found.runs, found.refusals_in_all) == (counted, counted)
    assert sum(found.runs_by_hour) == counted
    assert sum(sum(each.values) for each in found.refusals) == counted


@pytest.mark.django_db
def test_what_was_refused_is_told_with_its_status_as_the_log_counts_it() -> None:
    for kind, reason, times in (
        ("RATE_LIMIT_429", "concurrency", 3),
        ("START_REFUSED", "suspended", 2),
        ("EXTENSION_REFUSED", "breaker_open", 1),
    ):
        write_refusal(kind, reason, times)
    found = last_day.last_day(timezone.now())
    assert [(each.reason, each.status, each.times) for each in found.refused] == [
        ("concurrency", 429, 3),
        ("suspended", 409, 2),
        ("breaker_open", 503, 1),
    ]
    assert (found.refusals_in_all, found.refusals_429) == (6, 3)
    names = [each["name"] for each in figures(found)["refusals"]["series"]]
    assert names == ["concurrent runs", "suspended", "breaker open"]


@pytest.mark.django_db
def test_a_tile_leads_to_the_rows_that_it_counts() -> None:
    person = factories.make_user("op", groups=["operations"], is_staff=True)
    work_order = factories.make_work_order()
    now = timezone.now()
    for agent, hours in (("agent-old", 25), ("agent-new", 1)):
        at = now - timedelta(hours=hours)
        make_run(work_order, agent=agent, started_at=at, finished_at=now, status="error", cost=0)
    client = logged_in(person)
    page = client.get("/ops-dashboard").content.decode()
    for label in ("Work order runs, 24 h", "Error rate, 24 h"):
        (tile,) = re.findall(rf'<a class="tg-tile" href="([^"]+)"><span>{label}', page)
        rows = client.get(tile.replace("&amp;", "&")).content.decode()
        assert "agent-new" in rows
        assert "<strong>The last 24 hours</strong>" in rows
        assert "agent-old" not in rows.split("result_list")[1]
    assert re.search(r'href="/ops-logs\?kind=refusals&amp;last=24h"><span>Refused, 24 h', page)


@pytest.mark.django_db
def test_whoever_decides_sees_what_waits_for_others() -> None:
    asker = factories.make_user("asker", groups=["operations"], is_staff=True)
    request = ask(factories.make_work_order(), asker)
    assert approvals.waiting_for(asker) == []
    page = logged_in(asker).get("/ops-dashboard").content.decode()
    assert f"#{request.pk} " in page.split("Waiting for others")[1]


@pytest.mark.django_db
def test_a_chart_of_features_that_nobody_named_is_not_drawn() -> None:
    make_run(factories.make_work_order())
    assert figures(last_day.last_day(timezone.now()))["features"]["series"] == []


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
    found = standstill.stopped(*NOBODYS, at_most=8)
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
    killswitch.switch("Surface", "batch", enabled=True, reason="x", by="ops")
    breaker.trip("global", "", reason="x", by="ops")
    page = logged_in(factories.make_user("op", groups=["operations"], is_staff=True)).get(
        "/ops-dashboard"
    )
    card = page.content.decode().split('id="card-blocked"')[1].split("</section>")[0]
    assert "one surface batch" in card
    assert "until somebody lifts it" in card
    assert "circuit breaker" in card
    assert OperationsEvent.objects.filter(kind="BREAKER_SWITCHED").exists()
