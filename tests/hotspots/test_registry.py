"""The hotspot registry: what is measured, what is typed, what holds it, when it is stale."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from budgets import clock, tasks
from budgets.controls import features, kill_switch
from budgets.exceptions import Refused
from budgets.finops.hotspots import guardrails, measuring, registry
from budgets.models import Contact, Hotspot
from opslog.models import OperationsEvent
from tests import factories
from tests.admin.scene import HOSTILE
from tests.factories import client_of, make_hour
from tests.trail import meta_of, trail

VIEW = "budgets.view_hotspot"
CHANGE = "budgets.change_hotspot"


def entry(**columns: object) -> Hotspot:
    data = {
        "name": "Chat",
        "feature": "chat",
        "dimension": "llm_api",
        "scaling": "linear",
        "owner": Group.objects.get(name="operations"),
        **columns,
    }
    return registry.add(data, by="ops")


def test_six_entries_are_shipped_typed_and_unconfirmed(db: None) -> None:
    shipped = list(Hotspot.objects.all())
    assert len(shipped) == 6
    for each in shipped:
        assert each.state == "unconfirmed"
        assert any(link for _, link in guardrails.links(each)), each.name
        assert each.typed_at is not None
        assert not each.is_measured


def test_a_month_that_is_not_complete_is_a_day_times_thirty(db: None) -> None:
    found = entry()
    today = clock.today()
    make_hour(today - timedelta(days=1), usd="2", requests=100)
    make_hour(today - timedelta(days=2), usd="5", requests=10)
    make_hour(today, usd="99")  # not over
    make_hour(today - timedelta(days=1), feature="other", usd="50")
    # Only where no calendar month is complete yet: both days lie in this month or the one before.
    assert tasks.measure_hotspots() == 2  # this one, and the one of every feature
    found.refresh_from_db()
    assert (found.measured_month_low, found.measured_month_high) == (Decimal(60), Decimal(150))
    assert found.measured_days == 2
    assert found.measured_request_low is not None
    assert found.measured_request_high is not None
    assert (
        Decimal("0.02")
        <= found.measured_request_low
        < found.measured_request_high
        <= Decimal("0.5")
    )
    everything = Hotspot.objects.get(feature="*")
    assert everything.measured_month_high == (2 + 50) * 30


def test_the_day_on_which_telemetry_began_is_no_whole_day(db: None) -> None:
    """It began at 18:00: $2.00 of six hours are no $60.00 a month. The next, $5.00, is whole."""
    found = entry()
    today = clock.today()
    make_hour(today - timedelta(days=2), at=18, usd="2")
    measuring.measure()
    found.refresh_from_db()
    assert not found.is_measured  # not a whole day yet
    make_hour(today - timedelta(days=1), at=9, usd="5")
    measuring.measure()
    found.refresh_from_db()
    assert (found.measured_month_low, found.measured_month_high) == (Decimal(150), Decimal(150))
    assert found.measured_days == 1


def test_complete_months_are_what_is_measured(db: None) -> None:
    found = entry()
    first = clock.today().replace(day=1)
    for back, usd in ((1, "30"), (2, "10")):
        month = first
        for _ in range(back):
            month = (month - timedelta(days=1)).replace(day=1)
        make_hour(month, usd=usd)
        make_hour(month + timedelta(days=20), usd="1")
    measuring.measure()
    found.refresh_from_db()
    assert (found.measured_month_low, found.measured_month_high) == (Decimal(11), Decimal(31))


def test_what_has_no_price_makes_no_request_cheaper(db: None) -> None:
    found = entry()
    make_hour(clock.today() - timedelta(days=1), usd="1", requests=10, unpriced=5)
    measuring.measure()
    found.refresh_from_db()
    assert found.measured_request_high == Decimal("0.2")


def test_without_telemetry_nothing_is_measured(db: None) -> None:
    found = entry(typed_month_low=Decimal(1), typed_month_high=Decimal(2))
    assert measuring.measure() == 0
    found.refresh_from_db()
    assert not found.is_measured
    assert found.typed_at == timezone.now().date()


@pytest.mark.parametrize(
    ("days_ago", "stale"), [(None, False), (0, False), (89, False), (90, True), (200, True)]
)
def test_when_it_is_stale(db: None, days_ago: int | None, stale: bool) -> None:
    found = entry()
    if days_ago is not None:
        registry.confirm(found.pk, note="looked", by="ops")
        moment = timezone.now() - timedelta(days=days_ago, seconds=1)
        Hotspot.objects.filter(pk=found.pk).update(confirmed_at=moment)
    found.refresh_from_db()
    assert found.is_stale == stale


def test_without_a_confirmation_it_is_stale_when_its_days_are_over(db: None) -> None:
    found = entry(typed_month_low=Decimal(1), typed_month_high=Decimal(2), confirm_days=30)
    assert (found.state, found.state_said) == ("unconfirmed", "not yet confirmed")
    found.typed_at = timezone.now().date() - timedelta(days=30)
    assert found.is_stale


def test_a_range_that_was_measured_long_ago_is_stale(db: None) -> None:
    found = entry()
    make_hour(clock.today() - timedelta(days=1), usd="2")
    measuring.measure()
    registry.confirm(found.pk, note="looked", by="ops")
    found.refresh_from_db()
    assert found.state == "confirmed"
    Hotspot.objects.filter(pk=found.pk).update(measured_at=timezone.now() - timedelta(days=3))
    found.refresh_from_db()
    assert found.state == "stale"
    page = reverse("admin:budgets_hotspot_change", args=[found.pk])
    assert "Measured last on" in client_of(VIEW).get(page).content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"levers": "Fewer rounds | wheel"},
        {"typed_month_low": Decimal(5), "typed_month_high": Decimal(1)},
        {"typed_month_low": Decimal(5)},
        {"typed_request_low": Decimal(-1), "typed_request_high": Decimal(1)},
        {"dimension": "gold"},
        {"scaling": "up"},
        {"name": ""},
        {"name": "Model calls"},
        {"confirm_days": 0},
    ],
)
def test_what_cannot_be_kept(db: None, wrong: Mapping[str, object]) -> None:
    with pytest.raises(Refused):
        entry(**wrong)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE hotspots SET typed_month_high = typed_month_low - 1",
        "UPDATE hotspots SET typed_at = NULL",
        "UPDATE hotspots SET confirmed_at = now()",
        "UPDATE hotspots SET measured_at = now()",
        "UPDATE hotspots SET confirm_days = 0",
    ],
)
def test_the_database_refuses_too(db: None, sql: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


def test_guardrails_are_the_rows_that_hold_it(db: None) -> None:
    found = entry()
    before = {each.what: each for each in guardrails.of(found)}
    assert "not registered" in before["Feature control of chat"].state
    lower = before["Limit of everything"].lever
    assert lower is not None
    assert lower.name == "budgets_budget_lower"
    features.change(
        "chat",
        {"requests_per_period": 7, "cost_cap_usd": Decimal(3)},
        reason="pilot",
        by="ops",
    )
    factories.set_limit("feature", "day", "usd", "4.00", subject="chat")
    factories.set_limit("feature", "day", "usd", "9.00", subject="other")
    kill_switch.switch("Global", "", enabled=True, reason="fire", by="ops")
    after = {each.what: each for each in guardrails.of(found)}
    assert "7 requests of a user" in after["Feature control of chat"].state
    assert "$3.00" in after["Feature control of chat"].state
    assert after["Limit of feature chat"].state == "$4.00 a day (UTC)"
    assert "Limit of feature other" not in after
    assert after["Kill switch: everything"].in_force
    storage = guardrails.of(Hotspot.objects.get(dimension="storage"))
    assert storage == []
    factories.set_limit("cost_dimension", "month", "usd", "30.00", subject="storage")
    (held,) = guardrails.of(Hotspot.objects.get(dimension="storage"))
    assert held.state == "$30.00 a month (UTC)"


def test_levers_are_those_that_the_service_obeys(db: None) -> None:
    control = features.change("chat", {"max_rounds": 3}, reason="less", by="ops")
    data = {link.text: (value, link) for link, value in guardrails.values(entry())}
    value, link = data["maxRounds"]
    assert (value, link.name, link.pk) == (3, "budgets_featurecontrol_levers", control.pk)


@pytest.mark.parametrize(
    ("line", "name", "query"),
    [
        ("Fewer rounds | feature", "budgets_featurecontrol_add", "feature=chat"),
        (
            "A limit | limit",
            "budgets_budget_add",
            "scope=cost_dimension&subject=llm_api&window=month&measure=usd",
        ),
        ("Stop one | surface", "budgets_killswitch_add", "scope=Surface"),
        ("Stop all | everything", "budgets_killswitch_add", "scope=Global"),
        ("Open it | breaker", "budgets_circuitbreaker_changelist", ""),
        ("Less each day | caps", "workorders_workorder_changelist", ""),
        ("Tell people | budget", "budgets_dimensionbudget_change", ""),
    ],
)
def test_a_lever_leads_to_its_control(db: None, line: str, name: str, query: str) -> None:
    ((text, link),) = guardrails.links(entry(levers=line))
    assert link is not None
    assert (link.text, link.name, link.query) == (text, name, query)
    assert text == line.partition(" |")[0]


def test_a_lever_leads_to_the_row_where_there_is_one(db: None) -> None:
    control = features.change("chat", {}, reason="pilot", by="ops")
    factories.set_limit("cost_dimension", "month", "usd", "30.00", subject="llm_api")
    lines = "Fewer rounds | feature\nA limit | limit\nA quiet hour"
    (_, feature), (_, limit), (_, outside) = guardrails.links(entry(levers=lines))
    assert feature is not None
    assert limit is not None
    assert (feature.name, feature.pk) == ("budgets_featurecontrol_levers", control.pk)
    assert limit.name == "budgets_budget_lower"
    assert outside is None


def test_pages_and_acts(db: None) -> None:
    found = entry(name=HOSTILE, levers=HOSTILE)
    reader, worker = client_of(VIEW), client_of(VIEW, CHANGE)
    page = reverse("admin:budgets_hotspot_change", args=[found.pk])
    confirm = reverse("admin:budgets_hotspot_confirm", args=[found.pk])
    text = reader.get(page).content.decode()
    assert "not yet confirmed" in text
    assert HOSTILE not in text
    assert reader.get(confirm).status_code == 403
    assert "required" in worker.post(confirm, {"reason": " "}).content.decode()
    assert worker.post(confirm, {"reason": "all of it"}).status_code == 302
    text = reader.get(page).content.decode()
    assert "confirmed" in text
    assert "all of it" in text
    change = reverse("admin:budgets_hotspot_change_entry", args=[found.pk])
    form = worker.get(change).context["form"]
    data = {name: form[name].value() or "" for name in form.fields}
    data |= {"typed_month_low": "5", "typed_month_high": "4"}
    assert worker.post(change, data).status_code == 200
    data["typed_month_high"] = "50"
    assert worker.post(change, data).status_code == 302
    found.refresh_from_db()
    assert found.typed_month_high == 50
    kinds = OperationsEvent.objects.filter(owner_type="hotspot", owner_id=str(found.pk))
    assert [each.kind for each in kinds.order_by("id")] == [
        "HOTSPOT_ADDED",
        "HOTSPOT_CONFIRMED",
        "HOTSPOT_CHANGED",
    ]
    assert worker.post(page, {}).status_code == 405


def test_the_list_tells_of_features_without_an_entry(db: None) -> None:
    make_hour(clock.today() - timedelta(days=1), feature="new-one", usd="3")
    url = reverse("admin:budgets_hotspot_changelist")
    text = client_of(VIEW, "budgets.add_hotspot").get(url).content.decode()
    assert "features without an entry" in text
    assert "?feature=new-one" in text
    entry(name="New", feature="new-one")
    assert "without an entry" not in client_of(VIEW).get(url).content.decode()
    for query in (
        "?fresh=stale",
        "?fresh=unconfirmed",
        "?fresh=confirmed",
        "?dimension__exact=llm_api",
    ):
        assert client_of(VIEW).get(url + query).status_code == 200


def test_adding_from_the_page(db: None) -> None:
    client = client_of(VIEW, "budgets.add_hotspot")
    url = reverse("admin:budgets_hotspot_add") + "?feature=x"
    form = client.get(url).context["form"]
    assert form["feature"].value() == "x"
    data = {
        "name": "X",
        "feature": "x",
        "dimension": "llm_api",
        "scaling": "linear",
        "confirm_days": 30,
    }
    data["owner"] = Group.objects.get(name="operations").pk
    assert client.post(url, data).status_code == 302
    assert client_of(VIEW).get(url).status_code == 403


def test_the_number_of_queries_does_not_grow(db: None) -> None:
    client = client_of(VIEW)
    url = reverse("admin:budgets_hotspot_changelist")
    client.get(url)
    with CaptureQueriesContext(connection) as few:
        client.get(url)
    for number in range(15):
        entry(name=f"more {number}", feature=f"f{number}")
    with CaptureQueriesContext(connection) as many:
        client.get(url)
    assert len(many) <= len(few) <= 20


def test_contacts_are_rows(db: None) -> None:
    client = client_of("budgets.view_contact", "budgets.add_contact", "budgets.change_contact")
    data = {"topic": "abuse", "position": 1, "name": "On call", "reach": "line 7", "active": "on"}
    answer = client.post(reverse("admin:budgets_contact_add"), data)
    assert answer.status_code == 302
    assert "line 7" in client.get(answer["Location"]).content.decode()
    made = Contact.objects.get(name="On call")
    url = reverse("admin:budgets_contact_change_contact", args=[made.pk])
    assert client.post(url, {**data, "reach": "line 8"}).status_code == 302
    made.refresh_from_db()
    assert made.reach == "line 8"
    by = "budgets.view_contact-budgets.add_contact-budgets.change_contact"
    assert trail("CONTACT_") == [
        ("CONTACT_ADDED", f"contact {made.pk}", by),
        ("CONTACT_CHANGED", f"contact {made.pk}", by),
    ]
    assert meta_of("CONTACT_ADDED")["changes"]["reach"] == {"old": None, "new": "line 7"}
    assert meta_of("CONTACT_CHANGED")["changes"] == {"reach": {"old": "line 7", "new": "line 8"}}
    assert client.get(reverse("admin:budgets_contact_changelist")).status_code == 200
    assert client_of("budgets.view_contact").get(url).status_code == 403
