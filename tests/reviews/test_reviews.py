"""The monthly review: opened once, worked through, closed by two people, final."""

import io
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from budgets import clock, tasks
from budgets.demo import bills
from budgets.exceptions import Conflict, Refused
from budgets.finops.bills import actuals
from budgets.finops.reviews import figures, months, working
from budgets.models import Alert, Deployment, DimensionBudget, MonthlyReview
from opslog.incidents.detecting import record_verdict
from opslog.models import OperationsEvent, OutboxMessage
from tests import factories
from tests.admin.scene import FORMULA, HOSTILE
from tests.factories import client_of, make_hour
from tests.incidents.findings import make_finding, whole_hour
from tests.trail import meta_of, trail

OCTOBER = date(2026, 10, 1)
TODAY = date(2026, 11, 1)


@pytest.fixture
def review(db: None) -> MonthlyReview:
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=10)
    make_hour(date(2026, 10, 5), usd="9.50")
    make_hour(date(2026, 9, 5), usd="4.00")
    working.open_review(OCTOBER, by="tollgate")
    return MonthlyReview.objects.get()


def work_through(review: MonthlyReview) -> None:
    for check in review.checks.all():
        working.tick(check.pk, done=True, note="", by="fin")


def sign(review: MonthlyReview, name: str, seen: str = "") -> bool:
    person = factories.make_user(name, groups=["finance"], is_staff=True)
    review.refresh_from_db()
    return working.sign(
        review.pk, seen=seen or working.state_of(review), comment="looked", by=person
    )


def test_it_is_opened_on_the_first_and_once(db: None) -> None:
    Deployment.objects.update(stamped_at="2026-01-01T00:00:00Z")
    factories.make_user("ops", groups=["operations"])
    assert working.open_due(TODAY)
    assert not working.open_due(TODAY)
    assert not working.open_due(date(2026, 11, 30))
    assert working.open_due(date(2026, 12, 9))  # the worker was away on the first
    months = MonthlyReview.objects.values_list("month", flat=True)
    assert list(months) == [date(2026, 11, 1), OCTOBER]
    assert MonthlyReview.objects.get(month=OCTOBER).checks.count() == len(working.CHECKLIST)
    assert OutboxMessage.objects.filter(topic="monthly_review", recipient_label="ops").count() == 2


def test_the_job_opens_the_review_of_the_month_before(db: None) -> None:
    month = actuals.month_before(actuals.first_of(clock.today()))
    Deployment.objects.update(stamped_at=datetime.combine(month, time(), UTC))
    assert tasks.open_monthly_review() == 1
    assert MonthlyReview.objects.get().month == month
    assert tasks.open_monthly_review() == 0


def test_a_database_of_this_month_has_no_last_one(db: None) -> None:
    Deployment.objects.update(stamped_at="2026-11-01T00:00:00Z")
    assert not working.open_due(date(2026, 11, 20))
    assert working.open_due(date(2026, 12, 1))


def test_a_database_of_this_month_with_older_figures_has_one(db: None) -> None:
    Deployment.objects.update(stamped_at="2026-11-20T00:00:00Z")
    make_hour(date(2026, 10, 5), usd="9.50")
    assert working.open_due(date(2026, 11, 20)) == 1
    assert MonthlyReview.objects.get().month == OCTOBER


def test_every_month_that_was_missed_is_opened(db: None) -> None:
    make_hour(date(2026, 7, 31), usd="1")
    working.open_review(date(2026, 9, 1), by="tollgate")
    assert working.open_due(TODAY) == 3
    assert working.open_due(TODAY) == 0
    found = MonthlyReview.objects.values_list("month", flat=True).order_by("month")
    assert [month.month for month in found] == [7, 8, 9, 10]


@pytest.mark.parametrize(
    ("first", "known", "found"),
    [
        ((2026, 10), [], [10]),
        ((2026, 11), [], []),
        ((2026, 8), [], [8, 9, 10]),
        ((2026, 8), [9], [8, 10]),
        ((2026, 8), [8, 9, 10], []),
        ((2020, 1), [], [5, 6, 7, 8, 9, 10]),  # no further back
    ],
)
def test_which_months_are_missing(
    first: tuple[int, int], known: list[int], found: list[int]
) -> None:
    there = {date(2026, month, 1) for month in known}
    result = months.missing(first=date(*first, 1), last=OCTOBER, known=there)
    assert [month.month for month in result] == found


LIST = "admin:budgets_monthlyreview_changelist"
OPEN = "admin:budgets_monthlyreview_open"


def test_it_is_opened_from_the_list(db: None) -> None:
    last = actuals.month_before(actuals.first_of(clock.today()))
    reader, worker = client_of(VIEW), client_of(*WORK)
    text = reader.get(reverse(LIST)).content.decode()
    assert "No month was reviewed yet" in text
    assert "Open the review" not in text
    assert f"Open the review of {last:%B %Y}" in worker.get(reverse(LIST)).content.decode()
    data = {"month": f"{last:%Y-%m}"}
    assert reader.post(reverse(OPEN), data).status_code == 403
    assert not MonthlyReview.objects.exists()
    assert f"Review of {last:%B %Y}" in posted(worker, reverse(OPEN), **data)
    assert "can be opened" in posted(worker, reverse(OPEN), **data)  # it is there
    review = MonthlyReview.objects.get()
    event = OperationsEvent.objects.get(kind="REVIEW_OPENED")
    assert (review.month, event.actor.startswith("budgets.")) == (last, True)
    text = worker.get(reverse(LIST)).content.decode()
    assert "Open the review" not in text
    assert "No month was reviewed yet" not in text


@pytest.mark.parametrize("month", ["", "x", "2026-13", "2999-01", "2001-01", "2026-01-01"])
def test_no_other_month_is_opened(db: None, month: str) -> None:
    posted(client_of(*WORK), reverse(OPEN), month=month)
    assert not MonthlyReview.objects.exists()


def test_the_demo_has_budgets_bills_and_a_review(db: None) -> None:
    factories.make_user("finance", groups=["finance"], is_staff=True)
    bills.write(date(2026, 11, 26))
    review = MonthlyReview.objects.get(month=OCTOBER)
    found = {row["dimension"]: row for row in figures.shown(review.figures)["rows"]}
    for name in ("compute", "storage", "network", "logging", "ci_cd"):
        assert found[name]["usd"] > 0
        assert found[name]["last"] > 0
        assert found[name]["budget"] is not None
    assert found["logging"]["passed"] == [70]
    assert review.figures["unmapped"] == [["Other", "Support plan", "30.07"]]
    out = io.StringIO()
    call_command("export_terraform", stdout=out)
    assert len(json.loads(out.getvalue())["resource"]["aws_budgets_budget"]) == 6


def test_month_against_budget_and_month_before(review: MonthlyReview) -> None:
    found = figures.shown(review.figures)
    row = next(each for each in found["rows"] if each["dimension"] == "llm_api")
    assert (str(row["usd"]), str(row["last"]), row["passed"]) == ("9.50", "4.00", [70, 90])
    assert (f"{row['share']:.2f}", f"{row['change']:.3f}") == ("0.95", "1.375")
    assert str(found["total"]) == "9.50"


def test_whose_membership_does_not_count_yet_signs_nothing(review: MonthlyReview) -> None:
    work_through(review)
    new = factories.make_user("new", is_staff=True)
    factories.join(new, "finance", counts_from=timezone.now() + timedelta(hours=1))
    review.refresh_from_db()
    with pytest.raises(Refused, match="does not count"):
        working.sign(review.pk, seen=working.state_of(review), comment="looked", by=new)


def test_two_people_close_it(review: MonthlyReview) -> None:
    with pytest.raises(Refused, match="9 of the checklist are open"):
        sign(review, "ann")
    work_through(review)
    assert not sign(review, "ann")
    with pytest.raises(Refused, match="Somebody else"):
        sign(review, "ann")
    assert sign(review, "bob")
    review.refresh_from_db()
    assert review.status == "closed"
    with pytest.raises(Refused, match="final"):
        working.decide(review.pk, text="late", who="", due=None, by="ann")
    about = f"monthly_review {review.pk}"
    assert trail("REVIEW_") == [
        ("REVIEW_OPENED", about, "tollgate"),
        *[("REVIEW_CHECK", about, "fin")] * len(working.CHECKLIST),
        ("REVIEW_SIGNED", about, "ann"),
        ("REVIEW_SIGNED", about, "bob"),
        ("REVIEW_CLOSED", about, "bob"),
    ]


@pytest.mark.parametrize("what", ["decide", "tick", "figures"])
def test_a_change_leaves_a_signature_behind(review: MonthlyReview, what: str) -> None:
    work_through(review)
    sign(review, "ann")
    seen = working.state_of(review)
    if what == "decide":
        working.decide(review.pk, text="Less", who="ops", due=None, by="fin")
    elif what == "tick":
        working.tick(review.checks.latest("pk").pk, done=True, note="seen", by="fin")
    else:
        make_hour(date(2026, 10, 6), usd="1.00")
        working.take_again(review.pk, by="fin")
    kind = {
        "decide": "REVIEW_DECISION",
        "tick": "REVIEW_CHECK",
        "figures": "REVIEW_FIGURES",
    }[what]
    assert trail("REVIEW_")[-1] == (kind, f"monthly_review {review.pk}", "fin")
    assert meta_of(kind)["month"] == "2026-10"
    with pytest.raises(Conflict):
        sign(review, "bob", seen)
    assert not sign(review, "bob")
    assert sign(review, "ann")


def test_figures_do_not_change_by_themselves(review: MonthlyReview) -> None:
    state = working.state_of(review)
    make_hour(date(2026, 10, 6), usd="1.00")
    review.refresh_from_db()
    assert working.state_of(review) == state


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE monthly_reviews SET status = 'closed', closed_at = now(), closed_state = 'x'",
        "UPDATE monthly_reviews SET month = '2026-01-01'",
        "UPDATE monthly_reviews SET status = 'closed'",
        "DELETE FROM monthly_reviews",
        "DELETE FROM review_checks",
        "UPDATE review_checks SET done_at = now() WHERE done_by = ''",
    ],
)
def test_sql_cannot_get_around_it(review: MonthlyReview, sql: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE monthly_reviews SET figures = '{}'",
        "UPDATE monthly_reviews SET status = 'open', closed_at = NULL, closed_state = ''",
        "UPDATE review_checks SET note = 'x'",
        (
            "INSERT INTO review_decisions (review_id, text, by) "
            "SELECT id, 'x', 'y' FROM monthly_reviews"
        ),
    ],
)
def test_what_is_closed_is_final(review: MonthlyReview, sql: str) -> None:
    work_through(review)
    sign(review, "ann")
    sign(review, "bob")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


def address(name: str, review: MonthlyReview) -> str:
    return reverse(f"admin:budgets_monthlyreview_{name}", args=[review.pk])


VIEW = "budgets.view_monthlyreview"
WORK = (VIEW, "budgets.change_monthlyreview")
SIGN = (VIEW, "budgets.sign_monthlyreview")


def posted(client: Client, url: str, **fields: Any) -> str:
    answer = client.post(url, fields, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_is_worked_through_on_its_page(review: MonthlyReview) -> None:
    reader, worker = client_of(VIEW), client_of(*WORK)
    first = client_of(*SIGN, group="director")
    page = reader.get(address("change", review)).content.decode()
    for phrase in ("over 90 %", "Checklist", "Nothing was decided yet", "No incident and no alert"):
        assert phrase in page
    assert "Done</button>" not in page
    for check in review.checks.all():
        posted(worker, address("tick", review), check=check.pk, done="1", note=HOSTILE)
    data = {"text": f"{FORMULA} {HOSTILE}", "who": "ops", "due": "2026-12-01"}
    page = posted(worker, address("decide", review), **data)
    assert HOSTILE not in page
    assert "until 2026-12-01" in page
    seen = first.get(address("sign", review)).context["form"]["seen"].value()
    assert "Somebody else must sign" in posted(
        first, address("sign", review), comment="all", seen=seen
    )
    assert "You have signed" in first.get(address("change", review)).content.decode()
    second = client_of(*SIGN, "budgets.change_monthlyreview", group="finance")
    page = posted(second, address("sign", review), comment="all", seen=seen)
    assert "Signed, and closed" in page
    assert "Write a decision" not in page


@pytest.mark.parametrize("name", ["tick", "decide", "sign", "figures"])
def test_acts_are_for_who_may(review: MonthlyReview, name: str) -> None:
    reader = client_of(VIEW)
    assert reader.post(address(name, review), {}).status_code == 403
    expected = 405 if name == "tick" else 403
    assert reader.get(address(name, review)).status_code == expected


@pytest.mark.parametrize("check", ["", "x", "0", "99999"])
def test_a_point_that_is_not_there(review: MonthlyReview, check: str) -> None:
    assert "no such point" in posted(client_of(*WORK), address("tick", review), check=check)


@pytest.mark.parametrize(
    "name", ["monthlyreview", "dimensionbudget", "servicemapping", "billimport"]
)
def test_lists_and_empty_states(db: None, name: str) -> None:
    client = client_of(f"budgets.view_{name}")
    assert client.get(reverse(f"admin:budgets_{name}_changelist")).status_code == 200
    assert client_of("budgets.view_alert").get(
        reverse(f"admin:budgets_{name}_changelist")
    ).status_code in (200, 403)


def test_a_monthly_budget_is_changed_on_its_page(db: None) -> None:
    client = client_of("budgets.view_dimensionbudget", "budgets.change_dimensionbudget")
    budget = DimensionBudget.objects.get(dimension="compute")
    url = reverse("admin:budgets_dimensionbudget_change_budget", args=[budget.pk])
    form = client.get(url).context["form"]
    data = {name: form[name].value() or "" for name in form.fields}
    data |= {"monthly_usd": "120.00", "tiers": "50,100", "reason": "growth"}
    assert "Saved." in posted(client, url, **data)
    budget.refresh_from_db()
    assert (budget.monthly_usd, budget.tiers) == (Decimal(120), [50, 100])
    data["tiers"] = "0"
    assert client.post(url, data).status_code == 200
    page = reverse("admin:budgets_dimensionbudget_change", args=[budget.pk])
    assert "50 %, 100 %" in client.get(page).content.decode()


def test_what_is_left_out_is_counted(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "ANOMALIES", 2)
    month = timezone.now().date().replace(day=1)
    for number in range(5):
        Alert.objects.create(kind="budget_full", key=f"k{number}", message=f"alert {number}")
    working.open_review(month, by="tollgate")
    review = MonthlyReview.objects.get()
    assert [each["message"] for each in review.figures["alerts"]] == ["alert 4", "alert 3"]
    assert "and 3 more" in client_of(VIEW).get(address("change", review)).content.decode()


def test_the_month_before_has_its_unmapped_charges_too(db: None) -> None:
    factories.make_user("finance", groups=["finance"], is_staff=True)
    bills.write(date(2026, 11, 26))
    found = {
        review.month.month: figures.shown(review.figures) for review in MonthlyReview.objects.all()
    }
    assert found[10]["last"] == found[9]["total"]
    old = dict(MonthlyReview.objects.get(month=OCTOBER).figures)
    del old["unmappedLast"], old["moreAlerts"], old["moreIncidents"]
    assert figures.shown(old)["last"] < found[9]["total"]


def test_points_and_charges_lead_to_their_pages(db: None) -> None:
    factories.make_user("finance", groups=["finance"], is_staff=True)
    bills.write(date(2026, 11, 26))
    review = MonthlyReview.objects.get(month=OCTOBER)
    text = client_of(VIEW, group="finance").get(address("change", review)).content.decode()
    checklist = text.partition('id="checklist"')[2].partition("<h2>Decisions")[0]
    for part in checklist.split("<li ")[1:]:
        assert 'class="tg-link tg-no-print" href="/' in part
    assert "service_category=Other&amp;service_name=Support+plan" in text
    assert "map it" in text
    reader = client_of(VIEW, "budgets.view_alert").get(address("change", review)).content.decode()
    assert 'map it <span class="tg-muted">(by administrator or finance)' in reader


def test_incidents_of_the_month_are_in_it(db: None) -> None:
    began = whole_hour(timezone.now())
    incident = record_verdict(make_finding(until=began), now=timezone.now())
    assert incident is not None
    month = incident.started_at.date().replace(day=1)
    working.open_review(month, by="tollgate")
    review = MonthlyReview.objects.get()
    (result,) = review.figures["incidents"]
    assert result["link"] == reverse("admin:opslog_incident_change", args=[incident.pk])
    assert "beyond the usual" in client_of(VIEW).get(address("change", review)).content.decode()
    assert figures.incidents_of(date(2020, 1, 1)) == []
