"""Raises for a time, and break-glass: in force for their interval, with the job worker off."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client

from budgets import approvals
from budgets.exceptions import Conflict, Refused
from budgets.models import CapChange, Grant
from opslog import events
from opslog.models import OperationsEvent, OutboxMessage
from tests.admission.desk import Desk, body, install_clock, set_clock
from tests.approvals.people import caps, decide, everybody
from tests.factories import lift_limits, make_token, make_user, make_work_order
from tests.trail import meta_of, trail

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def people(committed_db: str) -> Iterator[dict[str, User]]:
    install_clock()
    with time_machine.travel(NOON, tick=False):
        set_clock(NOON)
        people = everybody()
        lift_limits()
        yield people


def grant(
    people: dict[str, User], usd: str, since: datetime = NOON, until: datetime = NOON + HOUR
) -> None:
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal(usd)},
        justification="month end",
        expected_cost_impact="$1 a day",
        by=people["asker"],
        grant_from=since,
        grant_until=until,
    )
    for slot in approvals.open_slots(request):
        assert decide(request, people[slot.group]).pk == request.pk


def room(at: datetime) -> Decimal:
    """The cap in force at a moment, as a dry run finds it."""
    set_clock(at)
    desk = Desk()
    low, high = 0, 10_000
    while low < high:
        cents = (low + high + 1) // 2
        usd = Decimal(cents) / 100
        answer = body(desk.start(usd=usd, dry_run=True, confirm=True))
        low, high = (cents, high) if answer["decision"] == "admit" else (low, cents - 1)
    return Decimal(low) / 100


def test_in_force_from_its_beginning_until_before_its_end(people: dict[str, User]) -> None:
    grant(people, "6.00", NOON + HOUR, NOON + 2 * HOUR)
    moment = timedelta(microseconds=1)
    for at, cap in (
        (NOON, "2.00"),
        (NOON + HOUR - moment, "2.00"),
        (NOON + HOUR, "6.00"),
        (NOON + 2 * HOUR - moment, "6.00"),
        (NOON + 2 * HOUR, "2.00"),
    ):
        assert room(at) == Decimal(cap)
    assert caps() == (100, Decimal("2.00"))
    assert not CapChange.objects.exists()


def test_overlapping_grants_end_each_for_itself(people: dict[str, User]) -> None:
    grant(people, "6.00", NOON, NOON + 2 * HOUR)
    grant(people, "9.00", NOON + HOUR, NOON + 3 * HOUR)
    found = [room(NOON + timedelta(minutes=30 + 60 * n)) for n in range(4)]
    assert found == [Decimal(cap) for cap in ("6.00", "9.00", "9.00", "2.00")]


def test_across_midnight(people: dict[str, User]) -> None:
    night = datetime(2026, 3, 14, 23, tzinfo=UTC)
    grant(people, "6.00", night, night + 2 * HOUR)
    assert room(night + timedelta(minutes=59)) == Decimal("6.00")
    assert room(night + timedelta(minutes=61)) == Decimal("6.00")
    assert room(night + 2 * HOUR) == Decimal("2.00")


def test_what_was_used_under_a_grant_that_ended_stays_used(people: dict[str, User]) -> None:
    grant(people, "6.00")
    desk = Desk()
    assert desk.start(usd="5.00").status == 201
    set_clock(NOON + HOUR)
    assert desk.start(usd="0.01").denial == "usd_per_day"


def test_the_answer_of_a_start_tells_the_cap_in_force(people: dict[str, User]) -> None:
    grant(people, "6.00")
    assert body(Desk().start(usd="0.01"))["caps"]["usdPerDay"] == 6.0


def test_reads_show_the_base_and_what_is_in_force(people: dict[str, User], client: Client) -> None:
    make_work_order("w2")
    grant(people, "6.00")
    token = make_token(["read"])[1]

    def read(path: str) -> Any:
        return client.get(f"/api/work-orders{path}", headers={"x-api-key": token}).json()

    until = (NOON + HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
    raised = {"runsPerDay": 100, "usdPerDay": 6.0, "maxConcurrentRuns": 2, "until": until}
    for shown in (read("/w1"), read("/w1/usage"), read("")["results"][0]):
        assert shown["caps"] == {"runsPerDay": 100, "usdPerDay": 2.0}
        assert shown["capsInForce"] == raised
    base = {"runsPerDay": 100, "usdPerDay": 2.0, "maxConcurrentRuns": 2, "until": None}
    assert read("")["results"][1]["capsInForce"] == read("/w2")["capsInForce"] == base
    set_clock(NOON + HOUR)
    assert read("/w1")["capsInForce"] == base


def test_a_live_grant_counts_for_who_must_sign(people: dict[str, User]) -> None:
    """The rules look at the resulting effective cap, not at the number asked for."""
    grant(people, "60.00", NOON, NOON + 5 * HOUR)
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal("9.00")},
        justification="x",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )
    assert {slot.group for slot in approvals.open_slots(request)} == {"finance", "vp"}


@pytest.mark.parametrize(
    ("since", "until", "reason"),
    [
        (NOON, None, "both"),
        (None, NOON, "both"),
        (NOON + HOUR, NOON + HOUR, "after its beginning"),
        (NOON - 2 * HOUR, NOON - HOUR, "over already"),
        (NOON, NOON + timedelta(days=32), "31 days"),
        (NOON + timedelta(days=90, seconds=1), NOON + timedelta(days=91), "begins within 90 days"),
    ],
)
def test_intervals_that_make_no_sense(
    people: dict[str, User], since: datetime | None, until: datetime | None, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        approvals.ask(
            "w1",
            new={"usd_per_day": Decimal("6.00")},
            justification="x",
            expected_cost_impact="$1 a day",
            by=people["asker"],
            grant_from=since,
            grant_until=until,
        )


def test_a_time_that_is_over_when_the_last_signs_is_not_granted(people: dict[str, User]) -> None:
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal("6.00")},
        justification="x",
        expected_cost_impact="$1 a day",
        by=people["asker"],
        grant_from=NOON,
        grant_until=NOON + HOUR,
    )
    with time_machine.travel(NOON + HOUR, tick=False):
        assert decide(request, people["operations"]).status == "expired"
    assert not Grant.objects.exists()


def test_a_live_grant_over_fifty_asks_for_the_password(people: dict[str, User]) -> None:
    grant(people, "60.00", NOON, NOON + 5 * HOUR)
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal("9.00")},
        justification="x",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )
    assert approvals.needs_password(request)


def test_a_grant_ends_early_by_operations(people: dict[str, User]) -> None:
    grant(people, "6.00")
    pk = Grant.objects.get().pk
    with pytest.raises(Refused, match="by operations"):
        approvals.end_early(pk, by=people["director"], reason="enough")
    with time_machine.travel(NOON + HOUR / 2, tick=False):
        approvals.end_early(pk, by=people["operations"], reason="enough")
        with pytest.raises(Conflict):
            approvals.end_early(pk, by=people["operations"], reason="enough")
    assert trail("GRANT_ENDED") == [("GRANT_ENDED", "work_order w1", "operations")]
    facts = {"grantId": pk, "measure": "usd_per_day", "value": "6.00", "reason": "enough"}
    assert facts.items() <= meta_of("GRANT_ENDED").items()
    assert room(NOON + HOUR / 2) == Decimal("2.00")


@pytest.mark.parametrize(
    ("hours", "state", "word"),
    [
        (0, "coming", "to come"),
        (1, "live", "in force"),
        (2, "over", "over"),
    ],
)
def test_its_page_and_the_list_say_whether_it_is_in_force(
    people: dict[str, User], hours: int, state: str, word: str
) -> None:
    grant(people, "6.00", NOON + HOUR, NOON + 2 * HOUR)
    client = Client()
    reader = people["auditor"]
    User.objects.filter(pk=reader.pk).update(is_staff=True)
    with time_machine.travel(NOON + hours * HOUR, tick=False):
        client.force_login(reader, backend="django.contrib.auth.backends.ModelBackend")
        for chosen in ("coming", "live", "over"):
            page = client.get("/admin/budgets/grant/", {"state": chosen}).content.decode()
            badges = re.findall(r'"tg-badge [^"]*">(to come|in force|over)<', page)
            assert badges == ([word] if chosen == state else [])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cap_grants SET value = 1000",
        "UPDATE cap_grants SET ends_at = ends_at + interval '1 hour'",
        "UPDATE cap_grants SET starts_at = starts_at - interval '1 hour'",
    ],
)
def test_sql_cannot_stretch_a_grant(people: dict[str, User], statement: str) -> None:
    grant(people, "6.00")
    with pytest.raises(IntegrityError, match="only end earlier"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("table", ["cap_grants", "change_requests"])
def test_sql_grants_nothing_that_begins_in_a_year(people: dict[str, User], table: str) -> None:
    """By the clock of the database; everything else about the row is as it was approved."""
    grant(people, "6.00")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        late = cursor.fetchone()[0] + timedelta(days=90, minutes=1)
    named = {
        "cap_grants": ("starts_at", "ends_at"),
        "change_requests": ("grant_from", "grant_until"),
    }
    begins, ends = named[table]
    copied = f"""
        INSERT INTO {table} SELECT (json_populate_record(row, json_build_object('id', 1000,
            '{begins}', %(late)s::timestamptz, '{ends}', %(late)s::timestamptz + interval '1 hour',
            'status', 'expired'))).*
        FROM {table} row LIMIT 1"""
    with transaction.atomic(), connection.cursor() as cursor:
        events.record(
            "WORK_ORDER_CAP_CHANGE", message="x", owner=("work_order", "w1"), actor="test"
        )
        with pytest.raises(IntegrityError, match="begins within 90 days"), transaction.atomic():
            cursor.execute(copied, {"late": late})
        cursor.execute(copied, {"late": late - timedelta(minutes=2)})


def break_glass(by: User, usd: str = "20.00", minutes: int = 30, work_order: str = "w1") -> Grant:
    (made,) = approvals.raise_at_once(
        work_order, new={"usd_per_day": Decimal(usd)}, minutes=minutes, reason="night", by=by
    )
    return made


def test_break_glass(people: dict[str, User]) -> None:
    made = break_glass(people["operations"])
    assert room(NOON) == Decimal("20.00")
    assert room(NOON + HOUR / 2) == Decimal("2.00")
    assert OperationsEvent.objects.get(kind="BREAK_GLASS").meta["minutes"] == 30
    messages = set(
        OutboxMessage.objects.filter(topic="break_glass").values_list("recipient", flat=True)
    )
    everybody_else = ("operations", "director", "finance", "vp", "administrator")
    assert {str(people[name].pk) for name in everybody_else} <= messages
    with pytest.raises(Refused, match="their own"):
        approvals.review(made.pk, by=people["operations"], text="was right")
    with pytest.raises(Refused, match="those who decide"):
        approvals.review(made.pk, by=people["auditor"], text="was right")
    approvals.review(made.pk, by=people["director"], text="was right")
    with pytest.raises(Conflict):
        approvals.review(made.pk, by=people["vp"], text="was wrong")


@pytest.mark.parametrize(
    ("who", "usd", "minutes", "reason"),
    [
        ("finance", "20.00", 30, "permission of its own"),
        ("auditor", "20.00", 30, "permission of its own"),
        ("root", "20.00", 30, "permission of its own"),
        ("operations", "50.01", 30, "up to"),
        ("operations", "20.00", 61, "60 minutes"),
        ("operations", "20.00", 0, "60 minutes"),
        ("operations", "1.00", 30, "only raises"),
        ("operations", "2.00", 30, "only raises"),
    ],
)
def test_break_glass_has_its_bounds(
    people: dict[str, User], who: str, usd: str, minutes: int, reason: str
) -> None:
    people["root"] = make_user("root", is_superuser=True)
    with pytest.raises(Refused, match=reason):
        break_glass(people[who], usd, minutes)
    assert not Grant.objects.exists()


def test_an_overdue_review_stops_the_next(people: dict[str, User]) -> None:
    first = break_glass(people["operations"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(created_at) + interval '24 hours' FROM cap_grants")
        overdue = cursor.fetchone()[0]
    with time_machine.travel(overdue, tick=False):
        make_work_order("w2")
        with pytest.raises(Refused, match=r"not reviewed within 24 hours: review it first"):
            break_glass(make_user("operations-2", groups=["operations"]), work_order="w2")
        for grant_ in approvals.unreviewed():
            approvals.review(grant_.pk, by=people["director"], text="fine")
        assert break_glass(people["operations"]).pk > first.pk
