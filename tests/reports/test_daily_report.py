"""The daily report from real rows: page, CSV, command, message."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from budgets import clock, tasks
from budgets.models import Counter, DailyReport
from budgets.reports import notify, rows
from budgets.reports.csv_file import csv_lines
from budgets.reports.rules import Action
from opslog.models import OperationsEvent, OutboxMessage
from tests import factories
from tests.admin.scene import FORMULA, HOSTILE, break_glass
from tests.reports.rows import begins, changed_at, long_ago, refused, report, used
from tests.trail import trail

PAGE = "daily-report-page"


@pytest.fixture
def yesterday(db: None) -> date:
    return clock.today() - timedelta(days=1)


def client_of(*groups: str) -> Client:
    person = factories.make_user("-".join(groups) or "nobody", groups=groups, is_staff=True)
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def crowd(day: date) -> None:
    for number, (runs, usd) in enumerate(
        [(100, "1.00"), (85, "0.50"), (50, "1.00"), (1, "0.01"), (0, "0")]
    ):
        work_order = factories.make_work_order(f"w{number}")
        long_ago(work_order)
        if runs:
            used(work_order, day, runs=runs, usd=usd)


@pytest.mark.parametrize("days_ago", [0, 1])
def test_sql_and_the_rules_agree(db: None, days_ago: int) -> None:
    day = clock.today() - timedelta(days=days_ago)
    crowd(day)
    whole = rows.read(day, size=1000)
    assert report(day, reversed(whole.rows)) == whole
    assert whole.totals.idle == (2 if days_ago else 0)
    for action in Action:
        part = rows.read(day, only=action)
        assert list(part.rows) == [row for row in whole.rows if row.action == action]
        assert part.totals == whole.totals


def test_it_is_read_a_page_at_a_time(yesterday: date) -> None:
    crowd(yesterday)
    whole = rows.read(yesterday, size=1000)
    assert [row.work_order for row in rows.read(yesterday, size=2, page=2).rows] == ["w2", "w3"]
    assert tuple(rows.every_row(yesterday)) == whole.rows


def test_reserved_money_counts(yesterday: date) -> None:
    work_order = factories.make_work_order()
    used(work_order, yesterday, runs=1, usd="1.00", held="0.50")
    (row,) = rows.read(yesterday).rows
    assert (row.usd, row.usd_share) == (Decimal("1.50"), Decimal("0.75"))


@pytest.mark.parametrize(
    ("status", "with_use", "shown"),
    [
        ("draft", False, True),
        ("suspended", False, True),
        ("archived", False, False),
        ("archived", True, True),
    ],
)
def test_whose_rows_there_are(yesterday: date, status: str, with_use: bool, shown: bool) -> None:
    work_order = factories.make_work_order("w1", status=status)
    long_ago(work_order)
    if with_use:
        used(work_order, yesterday, runs=1, usd="0.10")
    assert bool(rows.read(yesterday).rows) == shown


def test_what_was_not_there_yet_is_left_out(yesterday: date) -> None:
    factories.make_work_order("made-today")
    assert not rows.read(yesterday).rows
    assert rows.read(clock.today()).rows


def test_grants_count_while_they_are_in_force(yesterday: date) -> None:
    work_order = factories.make_work_order()
    long_ago(work_order)
    person = factories.make_user("ops", groups=["operations"])
    grant = break_glass(work_order, person)
    assert grant.measure == "max_concurrent_runs"
    (row,) = rows.read(clock.today()).rows
    assert (row.runs_cap, row.usd_cap) == (100, Decimal("2.00"))


class TestHistory:
    """Caps of the past need committed rows: the owner alone can set a clock back."""

    @pytest.fixture
    def committed(self, committed_db: str) -> date:
        return clock.today()

    def test_caps_are_those_at_the_end_of_the_day(self, committed: date) -> None:
        work_order = factories.make_work_order(runs_per_day=400, usd_per_day="8.00")
        long_ago(work_order)
        changed_at(work_order, 3)
        caps = {
            ago: (row.runs_cap, row.usd_cap)
            for ago in (2, 3, 4)
            for row in rows.read(committed - timedelta(days=ago)).rows
        }
        raised, before = (400, Decimal("8.00")), (100, Decimal("2.00"))
        assert caps == {2: raised, 3: raised, 4: before}

    def test_a_grant_of_the_day_is_in_force_on_it(self, committed: date) -> None:
        from budgets import approvals

        work_order = factories.make_work_order()
        long_ago(work_order)
        person = factories.make_user("ops", groups=["operations"], is_staff=True)
        approvals.raise_at_once(
            work_order.pk, new={"usd_per_day": Decimal(9)}, minutes=30, reason="night", by=person
        )
        (row,) = rows.read(committed).rows
        assert row.usd_cap == Decimal(9)
        (before,) = rows.read(committed - timedelta(days=1)).rows
        assert before.usd_cap == Decimal("2.00")


class TestBlocked:
    """Who was blocked is read from the refusals on record, not from what is used."""

    @pytest.fixture
    def committed(self, committed_db: str) -> date:
        return clock.today() - timedelta(days=1)

    def test_by_a_dollar_cap_of_which_much_is_left(self, committed: date) -> None:
        work_order = factories.make_work_order()
        used(work_order, committed, runs=5, usd="1.20")
        refused(work_order, begins(committed) + timedelta(hours=9), "usd_per_day")
        (row,) = rows.read(committed).rows
        assert (row.action, row.refused_usd, row.refused_runs) == (Action.BLOCKED, 1, 0)
        assert row.proposal == {"usd_per_day": Decimal("3.00")}
        assert rows.read(committed).totals.blocked == 1

    def test_nobody_where_a_cap_is_full_and_nobody_asked(self, committed: date) -> None:
        used(factories.make_work_order(), committed, runs=100, usd="0.50")
        (row,) = rows.read(committed).rows
        assert (row.action, row.refused) == (Action.RAISE, 0)

    def test_not_by_another_limit(self, committed: date) -> None:
        work_order = factories.make_work_order()
        used(work_order, committed, runs=50, usd="0.50")
        for reason in ("concurrency", "user_quota", "budget:global:day"):
            refused(work_order, begins(committed) + timedelta(hours=9), reason)
        (row,) = rows.read(committed).rows
        assert (row.action, row.refused) == (None, 0)

    def test_after_midnight_is_another_day(self, committed: date) -> None:
        """Events of the hour after a day are read, because they may stand for asks of that day."""
        midnight = begins(committed) + timedelta(days=1)
        refused(factories.make_work_order("w1"), midnight + timedelta(minutes=10), "usd_per_day")
        assert [row.work_order for row in rows.read(committed, size=10).rows] == []

    def test_asks_that_share_an_event_count_on_the_day_of_each(self, committed: date) -> None:
        """Three asks, two before midnight; their event was written ten seconds after it."""
        work_order = factories.make_work_order()
        midnight = begins(committed) + timedelta(days=1)
        asks = [midnight + timedelta(seconds=each) for each in (-2, -1, 1)]
        refused(work_order, midnight + timedelta(seconds=10), "runs_per_day", asks)
        days = (committed, committed + timedelta(days=1))
        assert [rows.read(day).rows[0].refused_runs for day in days] == [2, 1]

    def test_direct_spend_is_named_and_is_no_work_orders(self, committed: date) -> None:
        work_order = factories.make_work_order()
        used(work_order, committed, runs=5, usd="1.20")
        Counter.objects.create(
            key=factories.counter_key("global", "", "day", begins(committed)),
            scope="global",
            subject="",
            window="day",
            starts_at=begins(committed),
            runs=7,
            settled_usd=Decimal("4.50"),
            reserved_usd=0,
        )
        totals = rows.read(committed).totals
        assert (totals.runs, totals.usd) == (5, Decimal("1.20"))
        assert (totals.direct_calls, totals.direct_usd) == (2, Decimal("3.30"))
        found = rows.read(committed)
        assert "$3.30 direct spend" in notify.headline(found)
        assert "Direct spend, outside work orders: 2 calls, $3.30." in notify.text_of(found, [])
        *_, last = csv.DictReader(io.StringIO("".join(csv_lines(committed))))
        assert (last["title"], last["cost_usd"]) == ("Direct spend (no work order)", "3.300000000")

    def test_what_is_reserved_is_not_settled(self, committed: date) -> None:
        counter = used(factories.make_work_order(), committed, runs=4, usd="0.50", held="0.25")
        Counter.objects.filter(pk=counter.pk).update(open_runs=1)
        (row,) = rows.read(committed).rows
        assert (row.usd, row.settled_usd, row.reserved_usd) == (
            Decimal("0.75"),
            Decimal("0.50"),
            Decimal("0.25"),
        )
        text = strip_tags(client_of("auditor").get(reverse(PAGE)).content.decode())
        page = client_of("auditor").get(reverse(PAGE)).content.decode()
        assert "$0.75" in text
        assert "$0.50 settled, $0.25 reserved" in page
        assert "3 ended, 1 open" in page


def test_the_page_says_what_to_do_and_leads_there(yesterday: date) -> None:
    crowd(yesterday)
    client = client_of("operations")
    text = client.get(reverse(PAGE)).content.decode()
    for phrase in ("somebody was blocked", "consider raising", "review the need", "ask for more"):
        assert phrase in text
    assert "add/?work_order=w0&amp;runs_per_day=150" in text
    assert "All (5)" in strip_tags(text)
    only = client.get(reverse(PAGE), {"only": "near"}).content.decode()
    assert ">w1<" in only
    assert ">w2<" not in only


def test_a_cap_that_was_raised_since_is_not_asked_down(yesterday: date) -> None:
    work_order = factories.make_work_order()
    long_ago(work_order)
    used(work_order, yesterday, runs=100, usd="1.90")
    factories.set_caps(work_order, 300, "2.00")
    client = client_of("operations")
    answer = client.get(reverse(PAGE))
    (each,) = answer.context["rows"]
    assert (each["row"].runs_cap, each["row"].runs_cap_now) == (100, 300)
    assert "raised since to 300 runs" in answer.content.decode()
    form = client.get(each["ask"]).context["form"]
    assert (form["runs_per_day"].value(), form["usd_per_day"].value()) == (300, Decimal("2.90"))
    factories.set_caps(work_order, 300, "9.00")
    answer = client.get(reverse(PAGE))
    assert "raised since to 300 runs and $9.00" in answer.content.decode()
    assert "ask for more" not in answer.content.decode()


def test_a_running_day_flags_nothing_as_idle(db: None) -> None:
    crowd(clock.today())
    answer = client_of("operations").get(reverse(PAGE), {"day": clock.today().isoformat()})
    text = answer.content.decode()
    assert "review the need" not in text
    assert "available when the day is over" in text
    assert "somebody was blocked" in text


def test_who_cannot_ask_sees_no_link_to_it(yesterday: date) -> None:
    crowd(yesterday)
    assert "ask for more" not in client_of("auditor").get(reverse(PAGE)).content.decode()


@pytest.mark.parametrize("name", [PAGE, "daily-report-csv"])
def test_it_is_for_who_may_read(db: None, name: str) -> None:
    assert client_of().get(reverse(name)).status_code == 403
    assert Client().get(reverse(name)).status_code == 302
    assert client_of("auditor").get(reverse(name)).status_code == 200
    assert client_of("auditor").post(reverse(name)).status_code == 405


@pytest.mark.parametrize(
    "query",
    [
        "?day=x",
        "?day=2999-01-01",
        "?page=x",
        "?page=-1",
        "?page=99999",
        "?only=x",
        "?day=0001-01-01",
    ],
)
def test_any_address_gives_a_page(db: None, query: str) -> None:
    assert client_of("auditor").get(reverse(PAGE) + query).status_code == 200


def test_the_link_fills_the_form_in(yesterday: date) -> None:
    crowd(yesterday)
    client = client_of("operations")
    answer = client.get(reverse(PAGE), {"only": "near"})
    each, _ = answer.context["rows"]
    form = client.get(each["ask"]).context["form"]
    assert form["runs_per_day"].value() == 150
    assert "100 of 100 runs" in form["justification"].value()
    assert form["expected_cost_impact"].value().startswith("About $0.50 a day more")
    sent = {
        name: form[name].value() or ""
        for name in (
            *("runs_per_day", "usd_per_day", "max_concurrent_runs"),
            *("justification", "expected_cost_impact"),
        )
    }
    # As a browser sends it: what held is in the hidden fields.
    html = client.get(each["ask"]).content.decode()
    assert 'name="initial-runs_per_day" value="100"' in html
    hidden = {
        "initial-runs_per_day": 100,
        "initial-usd_per_day": "2.00",
        "initial-max_concurrent_runs": 2,
    }
    checked = client.post(each["ask"], {**sent, **hidden, "check": ""}).content.decode()
    assert "operations" in checked
    made = client.post(each["ask"], {**sent, **hidden, "send": ""})
    assert made.status_code == 302
    assert "150" in client.get(made["Location"]).content.decode()


@pytest.mark.parametrize("wrong", ["runs_per_day=x", "usd_per_day=-1", "runs_per_day=1e9", "x=1"])
def test_a_wrong_link_fills_nothing_in(db: None, wrong: str) -> None:
    factories.make_work_order()
    url = f"{reverse('admin:budgets_changerequest_add')}?work_order=w1&{wrong}"
    form = client_of("operations").get(url).context["form"]
    assert (form["runs_per_day"].value(), form["usd_per_day"].value()) == (100, Decimal("2.00"))


def test_csv_has_every_row_and_no_formula(yesterday: date) -> None:
    work_order = factories.make_work_order(title=f"{FORMULA}{HOSTILE}")
    used(work_order, yesterday, runs=100, usd="0.123456789")
    answer = client_of("auditor").get(reverse("daily-report-csv"))
    assert f"budget-report-{yesterday}.csv" in answer["Content-Disposition"]
    (found,) = csv.DictReader(io.StringIO(answer.getvalue().decode()))
    assert found["title"] == f"'{FORMULA}{HOSTILE}"
    assert (found["runs"], found["cost_usd"], found["runs_utilization_pct"]) == (
        "100",
        "0.123456789",
        "100.0",
    )
    assert found["cost_utilization_pct"] == "6.1"  # rounded down, as the page does
    page = client_of("operations").get(reverse(PAGE)).content.decode()
    assert HOSTILE not in page
    assert ">6.1 %<" in page
    assert (found["reserved_usd"], found["refused_at_caps"]) == ("0.000000000", "0")


def test_the_number_of_queries_is_bounded(yesterday: date) -> None:
    crowd(yesterday)
    client = client_of("auditor")
    client.get(reverse(PAGE))
    with CaptureQueriesContext(connection) as few:
        client.get(reverse(PAGE))
    for number in range(10, 40):
        used(factories.make_work_order(f"w{number}"), yesterday, runs=90, usd="1")
    with CaptureQueriesContext(connection) as many:
        client.get(reverse(PAGE))
    assert len(many) == len(few) <= 14


def test_it_is_told_once(yesterday: date) -> None:
    crowd(yesterday)
    factories.make_user("ops", groups=["operations"])
    now = datetime.combine(yesterday + timedelta(days=1), datetime.min.time(), UTC)
    assert notify.tell_due(now=now + timedelta(minutes=4)) == 1  # of the day before yesterday
    assert notify.tell_due(now=now + timedelta(minutes=5)) == 1
    assert notify.tell_due(now=now + timedelta(hours=9)) == 0
    assert not notify.tell(yesterday)
    message = OutboxMessage.objects.get(key=yesterday.isoformat())
    assert "0 refused at a cap, 2 over 80 %" in message.subject
    assert "w0 (w0): 100 of 100 runs (100.0 %)" in message.text
    assert "Under 10 %: review the need: 2" in message.text
    assert message.link == f"{reverse(PAGE)}?day={yesterday}"
    assert OperationsEvent.objects.filter(kind="DAILY_REPORT").count() == 2
    assert DailyReport.objects.get(day=yesterday).near == 2


def test_the_command_prints_and_sends(yesterday: date) -> None:
    crowd(yesterday)
    factories.make_user("ops", groups=["operations"])
    shown, lines, sent = io.StringIO(), io.StringIO(), io.StringIO()
    call_command("daily_report", stdout=shown)
    assert shown.getvalue().count("Over 80 %: consider raising") == 2
    call_command("daily_report", "--csv", f"--date={yesterday}", stdout=lines)
    assert len(list(csv.reader(io.StringIO(lines.getvalue())))) == 6
    call_command("daily_report", "--send", stdout=sent)
    call_command("daily_report", "--send", stdout=sent)
    assert sent.getvalue().split("\n")[:2] == ["Told.", "Told before."]
    for wrong in (
        ["--date=yesterday"],
        ["--date=2999-01-01"],
        ["--send", f"--date={timezone.now():%Y-%m-%d}"],
    ):
        with pytest.raises(CommandError):
            call_command("daily_report", *wrong)


def test_the_job_reports_yesterday_once(yesterday: date) -> None:
    DailyReport.objects.create(
        day=yesterday - timedelta(days=2), work_orders=0, blocked=0, near=0, idle=0, runs=0, usd=0
    )
    reported = tasks.tell_daily_report()
    assert reported in (1, 2)  # before 00:05 UTC that of yesterday waits
    assert len(trail("DAILY_REPORT")) == reported
    assert tasks.tell_daily_report() == 0
