"""Break-glass: every measure bounded, one use without a review at a time, a ceiling over all."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client
from django.urls import reverse

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import ApprovalLimit, ChangeRequest, Grant
from opslog import events
from opslog.models import OperationsEvent
from tests.approvals.people import decide, everybody
from tests.factories import make_user, make_work_order

MOST: dict[str, Any] = {"usd_per_day": "50.00", "runs_per_day": 5000, "max_concurrent_runs": 10}


@pytest.fixture
def people(db: None) -> dict[str, User]:
    return crowd()


def crowd() -> dict[str, User]:
    people = everybody()
    for number in range(2, 8):
        make_work_order(f"w{number}")
        name = f"ops{number}"
        people[name] = make_user(name, groups=["operations"], is_staff=True)
    return people


def smash(by: User, work_order: Any = "w1", **new: Any) -> list[Grant]:
    wanted = {name: Decimal(value) for name, value in (new or {"usd_per_day": "20"}).items()}
    return approvals.raise_at_once(work_order, new=wanted, minutes=60, reason="night", by=by)


@pytest.mark.parametrize(("measure", "most"), MOST.items())
def test_every_measure_is_bounded(people: dict[str, User], measure: str, most: Any) -> None:
    over = Decimal(most) + (Decimal("0.01") if measure == "usd_per_day" else 1)
    for value in (over, Decimal(9_999)) if measure != "usd_per_day" else (over,):
        with pytest.raises(Refused, match="Break-glass goes up to"):
            smash(people["operations"], **{measure: value})
    assert not Grant.objects.exists()
    assert not OperationsEvent.objects.filter(kind="BREAK_GLASS").exists()
    assert smash(people["operations"], **{measure: most})[0].value == Decimal(most)


def test_nine_million_runs_three_times_in_a_row(people: dict[str, User]) -> None:
    for _ in range(3):
        with pytest.raises(Refused):
            smash(people["operations"], runs_per_day=9_999_999, max_concurrent_runs=9_999)
    assert not Grant.objects.exists()


def test_one_use_without_a_review_for_a_person(people: dict[str, User]) -> None:
    """Fifty dollars on six work orders in a row: the first alone."""
    made = smash(people["operations"], usd_per_day="50")
    for number in range(2, 7):
        with pytest.raises(Refused, match="Your break-glass on w1 is not reviewed yet"):
            smash(people["operations"], f"w{number}", usd_per_day="50")
    User.objects.filter(pk=people["operations"].pk).update(username="renamed")
    with pytest.raises(Refused, match="Your break-glass"):
        smash(User.objects.get(pk=people["operations"].pk), "w2")
    approvals.review(made[0].pk, by=people["vp"], text="right")
    assert smash(people["operations"], "w2")


def test_one_use_without_a_review_on_a_work_order(people: dict[str, User]) -> None:
    first = smash(people["operations"])
    with pytest.raises(Refused, match="break-glass of operations on this work order"):
        smash(people["ops2"], runs_per_day=500)
    approvals.end_early(first[0].pk, by=people["ops3"], reason="over")
    with pytest.raises(Refused, match="not reviewed yet"):
        smash(people["ops2"])
    approvals.review(first[0].pk, by=people["vp"], text="right")
    assert smash(people["ops2"])


def test_a_use_raises_several_measures_and_needs_each_reviewed(people: dict[str, User]) -> None:
    made = smash(people["operations"], **MOST)
    assert len(made) == 3
    for grant in made[:2]:
        approvals.review(grant.pk, by=people["vp"], text="right")
    with pytest.raises(Refused, match="not reviewed yet"):
        smash(people["operations"], "w2")


@pytest.mark.parametrize(("measure", "each"), MOST.items())
def test_a_ceiling_over_all_in_force(people: dict[str, User], measure: str, each: Any) -> None:
    smash(people["operations"], "w1", **{measure: each})
    first = smash(people["ops2"], "w2", **{measure: each})
    with pytest.raises(Refused, match=r"All break-glass in force together goes up to .* in use"):
        smash(people["ops3"], "w3", **{measure: each})
    approvals.end_early(first[0].pk, by=people["ops4"], reason="over")
    assert smash(people["ops3"], "w3", **{measure: each})


def test_nobody_reviews_their_own_under_another_name(people: dict[str, User]) -> None:
    (made,) = smash(people["operations"])
    User.objects.filter(pk=people["operations"].pk).update(username="renamed")
    with pytest.raises(Refused, match="their own"):
        approvals.review(made.pk, by=User.objects.get(pk=people["operations"].pk), text="right")
    # And somebody who has the name now is not that person.
    User.objects.filter(pk=people["ops2"].pk).update(username="operations")
    approvals.review(made.pk, by=User.objects.get(pk=people["ops2"].pk), text="right")


INSERT = """
INSERT INTO cap_grants
    (wo_id, measure, value, starts_at, ends_at, kind, granted_by, person_id, reason)
VALUES ('w2', 'runs_per_day', %s, now(), now() + interval '1 hour', 'break_glass', 'x', %s, 'x')
"""


@pytest.mark.parametrize(("runs", "why"), [(9_999_999, "goes up to"), (500, "not reviewed yet")])
def test_sql_is_held_to_the_same(people: dict[str, User], runs: int, why: str) -> None:
    """With the event that the guard of grants asks for."""
    if runs == 500:
        smash(people["operations"])
    with transaction.atomic(), connection.cursor() as cursor:
        events.record("BREAK_GLASS", message="x", owner=("work_order", "w2"), actor="x")
        with pytest.raises(IntegrityError, match=why), transaction.atomic():
            cursor.execute(INSERT, [runs, people["operations"].pk])


def test_sql_reviews_nothing_of_ones_own(people: dict[str, User]) -> None:
    smash(people["operations"])
    with (
        pytest.raises(IntegrityError, match="cap_grants_reviewer"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "UPDATE cap_grants SET reviewed_at = now(), review = 'ok', reviewed_by_id = person_id"
        )


class TestLimits:
    """The rows: lowered at once by an operator, raised by a request, never by a statement."""

    @pytest.fixture
    def limit(self, people: dict[str, User]) -> ApprovalLimit:
        return ApprovalLimit.objects.get(name="break_glass_runs_per_day")

    def test_lowering(self, people: dict[str, User], limit: ApprovalLimit) -> None:
        approvals.lower(limit.pk, Decimal(400), reason="calmer", by=people["operations"])
        with pytest.raises(Refused, match="up to 400 runs a day"):
            smash(people["operations"], runs_per_day=401)
        event = OperationsEvent.objects.get(kind="LIMIT_CHANGE", owner_type="approval_limit")
        assert event.actor == "operations"
        with pytest.raises(Refused, match="would not lower"):
            approvals.lower(limit.pk, Decimal(401), reason="x", by=people["operations"])
        with pytest.raises(Refused, match="multiple of 1"):
            approvals.lower(limit.pk, Decimal("1.5"), reason="x", by=people["operations"])

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE approval_limits SET amount = amount * 2",
            "DELETE FROM approval_limits",
            "UPDATE approval_limits SET name = 'x'",
        ],
    )
    def test_no_statement_raises_one(self, people: dict[str, User], statement: str) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    @pytest.mark.parametrize(
        ("name", "to", "signers"),
        [
            ("break_glass_runs_per_day", "9000", ["director"]),
            ("break_glass_usd_per_day", "60", ["finance", "vp"]),
            ("token_open_requests", "20", ["director"]),
        ],
    )
    def test_a_raise_is_requested(
        self, people: dict[str, User], name: str, to: str, signers: list[str]
    ) -> None:
        limit = ApprovalLimit.objects.get(name=name)
        request = approvals.ask(
            str(limit.pk),
            kind="approval_limit",
            new={"shared_limit": Decimal(to)},
            justification="more nights",
            expected_cost_impact="$1 a day",
            by=people["asker"],
        )
        assert [slot.group for slot in approvals.open_slots(request)] == signers
        for group in signers:
            request = decide(request, people[group])
        limit.refresh_from_db()
        assert (request.status, limit.amount) == ("applied", Decimal(to))

    def test_in_the_admin(self, people: dict[str, User], limit: ApprovalLimit) -> None:
        User.objects.update(is_staff=True)
        client = Client()
        client.force_login(
            people["operations"], backend="django.contrib.auth.backends.ModelBackend"
        )
        listed = client.get(reverse("admin:budgets_approvallimit_changelist")).content.decode()
        assert "Break-glass: runs a day" in listed
        page = reverse("admin:budgets_approvallimit_change", args=[limit.pk])
        shown = client.get(page).content.decode()
        assert "5,000" in shown
        lower = reverse("admin:budgets_approvallimit_lower", args=[limit.pk])
        assert lower in shown
        bad = client.post(lower, {"amount": "9000", "reason": "x"}).content.decode()
        assert "would not lower" in bad
        assert client.post(lower, {"amount": "400", "reason": "x"}).status_code == 302
        ask = f"{reverse('admin:budgets_changerequest_add')}?approval_limit={limit.pk}"
        assert ask.replace("&", "&amp;") in client.get(page).content.decode()
        sent = client.post(
            ask, {"shared_limit": "500", "justification": "x", "expected_cost_impact": "$1 a day"}
        )
        assert sent.status_code == 302
        request = ChangeRequest.objects.get()
        assert "400" in client.get(sent["Location"]).content.decode()
        assert f"Request #{request.pk} waits" in client.get(page).content.decode()
        queue = client.get(reverse("admin:budgets_changerequest_changelist")).content.decode()
        assert "Break-glass: runs a day" in queue


RACES = 15


def race(people: dict[str, User]) -> Iterator[int]:
    """Six people on six work orders at once; yields how many got through."""
    for _ in range(RACES):
        barrier = threading.Barrier(6)

        def run(number: int, barrier: threading.Barrier = barrier) -> bool:
            try:
                barrier.wait()
                smash(people[f"ops{number}"], f"w{number}", usd_per_day="50")
            except Refused:
                return False
            finally:
                connection.close()
            return True

        with ThreadPoolExecutor(6) as pool:
            yield sum(pool.map(run, range(2, 8)))
        for grant in approvals.unreviewed():
            approvals.review(grant.pk, by=people["vp"], text="right")
            approvals.end_early(grant.pk, by=people["operations"], reason="over")


def test_at_once_the_ceiling_holds(committed_db: str) -> None:
    assert set(race(crowd())) == {2}


def test_without_the_lock_it_does_not(committed_db: str) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION tollgate.hold_glass() RETURNS void LANGUAGE sql VOLATILE "
            "AS $$ SELECT pg_sleep(0.02) $$"
        )
    assert max(race(crowd())) > 2


def test_one_person_twice_at_once(committed_db: str) -> None:
    people = crowd()
    barrier = threading.Barrier(6)

    def run(number: int) -> bool:
        try:
            barrier.wait()
            smash(people["operations"], f"w{number}", usd_per_day="10")
        except Refused:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(run, range(2, 8))) == 1
