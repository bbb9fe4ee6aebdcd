"""The incident's pages say what is known, and do what their buttons say."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from django_q.models import OrmQ

from budgets.models import FeatureControl
from opslog.admin.incidents import chart_of
from opslog.incidents import watching
from opslog.incidents.detecting import record_verdict
from opslog.incidents.finding import Parts, Suspect
from opslog.models import Incident
from opslog.telemetry import change_markers
from tests.admin.scene import make_run
from tests.factories import make_token, make_user, make_work_order
from tests.incidents.findings import make_finding, normal_hours, tell_hours, whole_hour


def client_of(group: str) -> Client:
    user = make_user(f"a-{group}", groups=[group], is_staff=True)
    client = Client()
    client.force_login(
        User.objects.get(pk=user.pk), backend="django.contrib.auth.backends.ModelBackend"
    )
    return client


@pytest.fixture
def incident(db: None) -> Incident:
    made = record_verdict(make_finding(until=whole_hour(timezone.now())), now=timezone.now())
    assert made is not None
    return made


def page(client: Client, incident: Incident) -> str:
    answer = client.get(reverse("admin:opslog_incident_change", args=[incident.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def apply_address(incident: Incident, lever: str) -> str:
    return reverse("incident-mitigation", args=[incident.mitigations.get(lever=lever).pk])


def test_the_page_tells_cause_figures_and_proposals(incident: Incident) -> None:
    now = timezone.now()
    tell_hours(normal_hours(whole_hour(now), days=2))
    change_markers.record_change(
        kind="prompt_template", what="summaries v12", by="ops", now=now,
        happened_at=incident.started_at, feature="summaries",
    )  # fmt: skip
    html = page(client_of("operations"), incident)
    shown = f"{html} {strip_tags(html)}"
    for text in (
        "Context grows in summaries: $20.00 an hour, where $4.00 is normal",
        "Input tokens a request went from 900 to 5,400",
        "$16.00/h",
        "91% sure",
        "−$0.50/h",
        "prompt template: summaries v12 (summaries)",
        "Send the last 10 messages only",
        "saves about",
        "p95_input",
        "FROM inference_hours",
        "back within 20 % of its baseline",
        "As a table",
    ):
        assert text in shown, text
    assert html.count("Apply…") == incident.mitigations.count()


def test_every_change_of_its_hours_is_on_the_chart(incident: Incident) -> None:
    """Hours before the spike and while it lasts, reported before it was found or later."""
    now = timezone.now()
    for what, at in (
        ("long before", incident.started_at - timedelta(hours=25)),
        ("a day before", incident.started_at - timedelta(hours=23)),
        ("meanwhile", incident.started_at + timedelta(minutes=90)),
    ):
        change_markers.record_change(kind="deploy", what=what, by="ops", now=now, happened_at=at)
    marks = chart_of(incident, now).marks
    assert [mark.text for mark in marks] == [
        "the spike begins",
        "deploy: a day before",
        "deploy: meanwhile",
    ]
    assert [mark.x for mark in marks[1:]] == pytest.approx([1 / 27, 25.5 / 27])


def test_an_auditor_reads_and_has_no_buttons(incident: Incident) -> None:
    client = client_of("auditor")
    text = page(client, incident)
    assert "Take ownership" not in text
    assert "Run the triage" not in client.get("/admin/opslog/incident/").content.decode()
    assert client.get(apply_address(incident, "throttle")).status_code == 403


def test_a_mitigation_is_shown_in_numbers_before_it_is_applied(incident: Incident) -> None:
    client = client_of("operations")
    address = apply_address(incident, "throttle")
    asked = client.get(address).content.decode()
    assert "summaries: requests per period none → 10." in asked
    assert "No start of summaries asked Tollgate in the last 24 hours" in asked
    make_run(make_work_order("w1"), feature="summaries")
    asked = client.get(address).content.decode()
    assert "In the last 60 minutes it would have refused 0 of 1 starts" in asked
    assert "context grows in summaries" in asked.lower()  # the reason is prefilled
    assert not FeatureControl.objects.exists()  # looking changes nothing
    empty = client.post(address, {})
    assert empty.status_code == 200
    assert "required" in empty.content.decode()
    done = client.post(
        address,
        {"requests_per_period": "7", "period": "rolling_hour", "reason": "it burns"},
        follow=True,
    )
    assert "Applied, and recorded on the incident" in done.content.decode()
    assert FeatureControl.objects.get().requests_per_period == 7
    again = client.get(address, follow=True).content.decode()
    assert "is applied already" in again


def test_each_lever_is_offered_to_whom_may_pull_it(db: None) -> None:
    now = timezone.now()
    parts = Parts(suspects=(Suspect("user", "u-17", Decimal(30)),))
    critical = record_verdict(
        make_finding(until=whole_hour(now), cost="90.00", parts=parts), now=now
    )
    assert critical is not None
    everything = critical.mitigations.get(target="Global")
    one = critical.mitigations.get(target="user:u-17")
    offered = {
        group: [
            reverse("incident-mitigation", args=[each.pk]) in page(client_of(group), critical)
            for each in (everything, one)
        ]
        for group in ("operations", "director", "finance", "auditor")
    }
    assert offered == {
        "operations": [False, True],
        "director": [True, True],
        "finance": [False, False],
        "auditor": [False, False],
    }
    answer = client_of("vp").get(reverse("incident-mitigation", args=[everything.pk]))
    assert answer.status_code == 200


def test_a_cap_that_would_rise_is_not_offered(db: None) -> None:
    make_work_order("w1", usd_per_day="2.00")
    now = timezone.now()
    parts = Parts(suspects=(Suspect("work_order", "w1", Decimal(9), Decimal("0.50")),))
    incident = record_verdict(make_finding(until=whole_hour(now), parts=parts), now=now)
    assert incident is not None
    response = client_of("operations").get(apply_address(incident, "lower_cap"), follow=True)
    assert "$14.40 would not lower it" in response.content.decode()


def test_from_ownership_to_review(incident: Incident) -> None:
    client = client_of("operations")

    def act(name: str, **fields: str) -> str:
        address = reverse(f"admin:opslog_incident_{name}", args=[incident.pk])
        assert client.get(address).status_code == 200
        return client.post(address, fields, follow=True).content.decode()

    assert "You own it." in act("take", sure="yes")
    assert "The severity is set." in act("severity", severity="critical", reason="night")
    assert "The cause is set." in act("cause", cause="output_growth", reason="I looked")
    assert "a-operations named the cause: <strong>longer answers</strong>" in page(client, incident)
    assert "They are notified." in act("escalate", reason="still up")
    throttle = incident.mitigations.get(lever="throttle")
    assert "It is dismissed." in act("dismiss", mitigation=str(throttle.pk), reason="no")
    assert "Marked as stabilized. It needs a review." in act("stabilise", reason="quiet")
    assert ">stabilized<" in page(client, incident)
    assert ">stabilised<" not in page(client, incident)
    day = (timezone.now() + timedelta(days=7)).date().isoformat()
    answers = {"root_cause": "a prompt", "mitigation": "reverted", "follow_up_on": day}
    assert "required" in act("review", **answers)
    assert "reviewed and closed" in act("review", **answers, alert_created="no")
    incident.refresh_from_db()
    assert (incident.state, incident.alert_created) == ("reviewed", False)
    assert "a prompt" in page(client, incident)
    exported = client.get(reverse("admin:opslog_incident_export", args=[incident.pk]))
    assert exported["Content-Type"] == "text/markdown; charset=utf-8"
    assert "- Root cause: a prompt" in exported.content.decode()


def test_the_list_has_the_open_ones_first(incident: Incident) -> None:
    watching.stabilise(incident.pk, reason="quiet", by="x", now=timezone.now())
    record_verdict(
        make_finding(until=whole_hour(timezone.now()), feature="chat"), now=timezone.now()
    )
    record_verdict(
        make_finding(
            until=whole_hour(timezone.now()),
            feature="mail",
            started_at=whole_hour(timezone.now()) - timedelta(hours=20),
        ),
        now=timezone.now(),
    )
    watching.stabilise(
        Incident.objects.get(feature="mail").pk, reason="quiet", by="x", now=timezone.now()
    )
    text = client_of("auditor").get("/admin/opslog/incident/").content.decode()
    places = [text.index(f">{feature}<") for feature in ("chat", "mail", "summaries")]
    assert places == sorted(places)


def test_the_triage_is_asked_to_run(incident: Incident) -> None:
    client = client_of("operations")
    before = OrmQ.objects.count()
    response = client.post(reverse("admin:opslog_incident_run_triage"), follow=True)
    assert "The triage runs now" in response.content.decode()
    assert OrmQ.objects.count() == before + 1
    assert OrmQ.objects.latest("id").func() == "opslog.tasks.run_triage"


def test_over_rest(incident: Incident, client: Client) -> None:
    _, text = make_token(scopes=["read"])
    head = {"HTTP_AUTHORIZATION": f"Bearer {text}"}
    (row,) = client.get("/api/incidents?state=triaged", **head).json()["results"]  # type: ignore[arg-type]
    assert (row["id"], row["cause"], row["usdPerHour"]) == (
        incident.pk,
        "context_bloat",
        "20.00",
    )
    whole = client.get(f"/api/incidents/{incident.pk}", **head).json()  # type: ignore[arg-type]
    assert whole["mitigations"][0]["lever"] == "context_messages"
    assert whole["timeline"][0]["kind"] == "detected"
    assert whole["contributions"][0]["usdPerHour"] == "-0.50"
    assert client.get("/api/incidents?mood=bad", **head).status_code == 400  # type: ignore[arg-type]
    assert client.get("/api/incidents/999", **head).status_code == 404  # type: ignore[arg-type]
    assert client.get("/api/incidents").status_code == 401


def test_a_token_of_one_work_order_sees_none(incident: Incident, client: Client) -> None:
    make_work_order("w1")
    _, text = make_token(scopes=["read"], work_orders=["w1"])
    head = {"HTTP_AUTHORIZATION": f"Bearer {text}"}
    assert client.get("/api/incidents", **head).json()["results"] == []  # type: ignore[arg-type]
    assert client.get(f"/api/incidents/{incident.pk}", **head).status_code == 404  # type: ignore[arg-type]
