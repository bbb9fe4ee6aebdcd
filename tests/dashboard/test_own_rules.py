"""Alert rules that people make: for a limit, for a rate of spend, and from an incident."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from budgets import alerts
from budgets.alerts import rules
from budgets.exceptions import Refused
from budgets.models import Alert, AlertRule
from opslog.incidents.detecting import record_verdict
from opslog.models import OperationsEvent, OutboxMessage
from tests.access.walking import logged_in
from tests.admission.desk import Desk
from tests.factories import lift_limits, make_user, make_work_order, set_limit
from tests.incidents.findings import make_finding, whole_hour

pytestmark = pytest.mark.usefixtures("committed_db")
RULE: dict[str, Any] = {
    "name": "Summaries are dear",
    "check_name": "spend",
    "severity": "high",
    "over": Decimal("1.00"),
    "minutes": 60,
    "at_least": 1,
}


def add(**given: Any) -> AlertRule:
    return rules.add({**RULE, **given}, reason="incident #3", by="olga")


def test_a_rate_of_spend_of_one_feature() -> None:
    """$0.60 + $0.50 of `summaries` is over $1.00 an hour; what `chat` spent does not count."""
    rule = add(feature="summaries")
    make_work_order(max_concurrent_runs=10)
    lift_limits()
    desk = Desk()
    desk.start(usd="0.60", feature="summaries")
    desk.start(usd="0.90", feature="chat")
    assert rules.evaluate() == 0
    desk.start(usd="0.50", feature="summaries")
    assert rules.evaluate() == 1
    assert rules.evaluate() == 0
    alert = Alert.objects.get(kind="rule", owner_id=str(rule.pk))
    assert alert.message == (
        "High priority: Summaries are dear: $1.10 spent in 60 minutes (over $1.00) by summaries"
    )


def test_the_use_of_one_limit_and_who_is_notified() -> None:
    """$5.00 of $10.00 is 50 %, exactly the threshold; $5.50 is over it."""
    lift_limits()
    limit = set_limit("global", "day", "usd", "10.00")
    make_user("fin", groups=["finance"])
    make_user("op", groups=["operations"])
    finance = Group.objects.get(name="finance")
    rule = add(check_name="limit_use", budget=limit, over=Decimal(50), group=finance)
    make_work_order(max_concurrent_runs=10, usd_per_day="100")
    desk = Desk()
    desk.start(usd="5.00")
    assert rules.evaluate() == 0
    desk.start(usd="0.50")
    assert rules.evaluate() == 1
    alerts.tell()
    messages = OutboxMessage.objects.filter(topic="rule")
    assert [each.recipient_label for each in messages] == ["fin"]
    assert "55.0 % of the limit used (over 50 %)" in messages[0].text
    assert rule.firing_since is None


@pytest.mark.parametrize(
    "wrong",
    [{"name": " "}, {"check_name": "limit_use"}, {"check_name": "refusals", "feature": "chat"}],
)
def test_what_is_no_rule(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        add(**wrong)


def test_a_rule_is_made_from_an_incident_and_found_from_it() -> None:
    now = timezone.now()
    incident = record_verdict(make_finding(until=whole_hour(now)), now=now)
    assert incident is not None
    browser = logged_in(make_user("op", groups=["operations"], is_staff=True))
    page = browser.get(f"/admin/opslog/incident/{incident.pk}/change/").content.decode()
    address = f"/admin/budgets/alertrule/add/?incident={incident.pk}"
    assert address in page
    form = browser.get(address).content.decode()
    assert 'value="8.00"' in form  # twice the $4.00 that are normal
    assert 'value="summaries"' in form
    answer = browser.post(
        address,
        {
            **{name: str(value) for name, value in RULE.items()},
            "feature": "summaries",
            "enabled": "on",
            "reason": "so that it does not come back",
        },
    )
    assert answer.status_code == 302, answer.content.decode()
    (rule,) = AlertRule.objects.filter(incident=incident.pk)
    assert (rule.name, rule.feature) == ("Summaries are dear", "summaries")
    event = OperationsEvent.objects.get(kind="ALERT_RULE_ADDED")
    assert (event.actor, event.meta["incidentId"]) == ("op", incident.pk)
    listed = browser.get(f"/admin/budgets/alertrule/?incident={incident.pk}").content.decode()
    assert "Summaries are dear" in listed
    assert f"#{incident.pk}" in browser.get(answer.headers["Location"]).content.decode()


def test_an_auditor_makes_none() -> None:
    browser = logged_in(make_user("aud", groups=["auditor"], is_staff=True))
    assert browser.get("/admin/budgets/alertrule/add/").status_code == 403


def test_a_rule_of_long_ago_says_nothing_of_now() -> None:
    add(minutes=1)
    make_work_order()
    lift_limits()
    Desk().start(usd="1.50")
    assert rules.evaluate() == 1
    rule = AlertRule.objects.get(name=RULE["name"])
    since = timezone.now() - timedelta(minutes=5)
    assert rule.firing_since is not None
    assert rule.firing_since > since
