"""From detected to reviewed: every act in every state, the job's checks, what tables refuse."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from opslog import tasks
from opslog.exceptions import NotAllowedNow
from opslog.incidents import handling, mitigating, queries, reviewing, watching
from opslog.incidents.detecting import record_verdict
from opslog.models import Incident, IncidentEntry, OperationsEvent, OutboxMessage
from tests.factories import make_user
from tests.incidents.findings import HOUR, make_finding, normal_hours, tell_hours, whole_hour
from tests.trail import meta_of, trail

NOW = datetime(2026, 11, 20, 15, 5, tzinfo=UTC)
UNTIL = whole_hour(NOW)
STATES = ("detected", "triaged", "mitigating", "stabilised", "reviewed")
ACTIVE = frozenset(STATES[:3])
OPEN = frozenset(STATES[:4])


def make(state: str = "triaged") -> Incident:
    incident = record_verdict(
        make_finding(until=UNTIL, cause="none" if state == "detected" else "context_bloat"), now=NOW
    )
    assert incident is not None
    if state in ("mitigating", "stabilised", "reviewed"):
        apply(incident)
    if state in ("stabilised", "reviewed"):
        watching.stabilise(incident.pk, reason="quiet", by="olga", now=NOW)
    if state == "reviewed":
        review(incident)
    incident.refresh_from_db()
    assert incident.state == state
    return incident


def apply(incident: Incident, lever: str = "throttle") -> None:
    with transaction.atomic():
        mitigation = mitigating.hold(incident.mitigations.get(lever=lever).pk)
        mitigating.record_applied(
            mitigation, mitigation.values, effect="none → 10", reason="it burns", by="olga", now=NOW
        )


def review(incident: Incident, **fields: Any) -> None:
    answers = {
        "root_cause": "The prompt kept the whole history.",
        "mitigation": "Throttled, then fixed.",
        "alert_created": True,
        "follow_up_on": date(2026, 11, 27),
    }
    reviewing.review(incident.pk, **{**answers, **fields}, by="dora", now=NOW)


ACTS: dict[str, tuple[Callable[[Incident], Any], frozenset[str]]] = {
    "take": (lambda i: handling.take(i.pk, by=make_user("olga"), now=NOW), OPEN),
    "severity": (
        lambda i: handling.set_severity(i.pk, "critical", reason="x", by="olga", now=NOW),
        OPEN,
    ),
    "cause": (
        lambda i: handling.set_cause(i.pk, "output_growth", reason="x", by="olga", now=NOW),
        OPEN,
    ),
    "note": (lambda i: handling.note(i.pk, "x", by="olga", now=NOW), OPEN),
    "escalate": (lambda i: handling.escalate(i.pk, 1, reason="x", by="olga", now=NOW), ACTIVE),
    "apply": (lambda i: apply(i, "cost_cap"), ACTIVE),
    "dismiss": (
        lambda i: mitigating.dismiss(
            i.mitigations.get(lever="cost_cap").pk, reason="x", by="olga", now=NOW
        ),
        ACTIVE,
    ),
    "stabilise": (lambda i: watching.stabilise(i.pk, reason="x", by="olga", now=NOW), ACTIVE),
    "review": (review, frozenset({"stabilised"})),
}
AFTER = {  # act → the state it leads to; otherwise it stays
    ("detected", "cause"): "triaged",
    ("detected", "apply"): "mitigating",
    ("triaged", "apply"): "mitigating",
    **dict.fromkeys(((state, "stabilise") for state in ACTIVE), "stabilised"),
    ("stabilised", "review"): "reviewed",
}


EVENTS: dict[str, tuple[str, str, dict[str, Any]]] = {  # by whom, and what is in its meta
    "take": ("INCIDENT_OWNED", "olga", {"before": ""}),
    "severity": ("INCIDENT_SEVERITY", "olga", {"before": "major", "reason": "x"}),
    "cause": ("INCIDENT_TRIAGED", "olga", {"cause": "output_growth", "reason": "x"}),
    "note": ("INCIDENT_NOTE", "olga", {}),
    "escalate": ("INCIDENT_ESCALATED", "olga", {"level": 1}),
    "apply": ("INCIDENT_MITIGATED", "olga", {"lever": "cost_cap", "automatic": False}),
    "dismiss": ("INCIDENT_MITIGATION_DISMISSED", "olga", {"lever": "cost_cap"}),
    "stabilise": ("INCIDENT_STABILISED", "olga", {}),
    "review": ("INCIDENT_REVIEWED", "dora", {"alertCreated": True, "followUpOn": "2026-11-27"}),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("state", STATES)
def test_every_act_in_every_state(db: None, state: str, act: str) -> None:
    incident = make(state)
    perform, allowed = ACTS[act]
    before = IncidentEntry.objects.count()
    events = trail("INCIDENT_")
    reached = AFTER.get((state, act), state) if state in allowed else state
    if state not in allowed:
        with pytest.raises(NotAllowedNow):
            perform(incident)
        assert IncidentEntry.objects.count() == before
        assert trail("INCIDENT_") == events
    else:
        perform(incident)
        assert IncidentEntry.objects.count() == before + 1
        kind, by, meta = EVENTS[act]
        assert trail("INCIDENT_") == [*events, (kind, f"incident {incident.pk}", by)]
        facts = {"incidentId": incident.pk, "state": reached, "feature": "summaries", **meta}
        assert facts.items() <= meta_of(kind).items()
    incident.refresh_from_db()
    assert incident.state == reached


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_without_a_reason(db: None, text: str) -> None:
    incident = make()
    with pytest.raises(NotAllowedNow, match="reason"):
        handling.set_severity(incident.pk, "critical", reason=text, by="olga", now=NOW)
    incident.refresh_from_db()
    assert incident.severity == "major"


def test_applied_once_only(db: None) -> None:
    incident = make("mitigating")
    with pytest.raises(NotAllowedNow, match="applied already"):
        apply(incident)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"root_cause": " "}, "root cause"),
        ({"mitigation": ""}, "root cause"),
        ({"alert_created": None}, "alert"),
        ({"follow_up_on": None}, "follow-up"),
        ({"follow_up_on": date(2026, 11, 19)}, "follow-up"),
    ],
)
def test_a_review_leaves_no_answer_out(db: None, fields: dict[str, Any], message: str) -> None:
    incident = make("stabilised")
    with pytest.raises(NotAllowedNow, match=f"(?i){message}"):
        review(incident, **fields)


@pytest.mark.parametrize("missing", ["root_cause", "mitigation", "alert_created", "follow_up_on"])
def test_nor_does_the_table(db: None, missing: str) -> None:
    incident = make("stabilised")
    row = {
        "state": "reviewed",
        "root_cause": "x",
        "mitigation": "x",
        "alert_created": False,
        "follow_up_on": date(2026, 11, 27),
        "reviewed_at": NOW,
        "reviewed_by": "dora",
    }
    row[missing] = "" if missing in ("root_cause", "mitigation") else None
    with pytest.raises(IntegrityError, match="incidents_reviewed"), transaction.atomic():
        Incident.objects.filter(pk=incident.pk).update(**row)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"state": "stabilised"}, "incidents_stabilised"),
        ({"state": "mitigating"}, "incidents_mitigated"),
        ({"cause": "moon"}, "incidents_known_values"),
        ({"confidence": Decimal("1.1")}, "incidents_known_values"),
        ({"detected_at": NOW - timedelta(days=9)}, "incidents_known_values"),
        ({"cost_usd_per_hour": Decimal(4)}, "incidents_cost_is_up"),
        ({"escalation": 4}, "incidents_known_values"),
    ],
)
def test_what_the_table_refuses(db: None, columns: dict[str, Any], constraint: str) -> None:
    incident = make()
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Incident.objects.filter(pk=incident.pk).update(**columns)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE incidents SET root_cause = 'another'",
        "UPDATE incidents SET state = 'stabilised'",
        "DELETE FROM incidents",
    ],
)
def test_a_reviewed_incident_never_changes(db: None, statement: str) -> None:
    make("reviewed")
    with (
        connection.cursor() as cursor,
        pytest.raises(DatabaseError, match=r"no more|permission denied"),
    ):
        cursor.execute(statement)


@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_timeline_stays(committed_db: str, statement: str) -> None:
    make()
    with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(statement.format("incident_entries"))
    with pytest.raises(IntegrityError, match="append-only"):
        connections["owner"].cursor().execute(statement.format("incident_entries"))


# What the job does. Fifteen normal days at $4 an hour stand behind it.


@pytest.fixture
def history(db: None) -> None:
    tell_hours(normal_hours(UNTIL - 3 * HOUR))


def burn(*usd: str, begins: datetime = UNTIL - 3 * HOUR) -> datetime:
    """So much in each hour since the spike began; gives five past the end of the last."""
    tell_hours({begins + n * HOUR: each for n, each in enumerate(usd)})
    return begins + len(usd) * HOUR + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("costs", "state"),
    [
        (("20", "20", "20", "4.80", "4.80"), "stabilised"),
        (("20", "20", "20", "4.80", "7"), "mitigating"),
        (("20", "20", "20", "4.80"), "mitigating"),  # one hour is not two
        (("20", "20", "20", "4.81", "4.81"), "mitigating"),  # 20 %, however dear the spike was
    ],
)
def test_it_is_over_after_two_normal_hours(
    history: None, costs: tuple[str, ...], state: str
) -> None:
    incident = make("mitigating")
    now = burn(*costs)
    stabilised, _, _ = watching.watch(now=now)
    incident.refresh_from_db()
    assert incident.state == state
    assert stabilised == (state == "stabilised")
    if state == "stabilised":
        assert incident.stabilised_at == now
        assert OperationsEvent.objects.filter(kind="INCIDENT_STABILISED").count() == 1
        assert watching.watch(now=now) == (0, 0, 0)
    else:
        assert not incident.checks_told["cost"]["passed"]


def test_silence_is_no_sign_of_low_cost(history: None) -> None:
    incident = make("mitigating")
    burn("20", "20", "20")
    watching.watch(now=NOW + 3 * HOUR)
    incident.refresh_from_db()
    assert incident.state == "mitigating"
    assert incident.checks_told["cost"]["passed"]
    assert not incident.checks_told["telemetry"]["passed"]


def test_another_feature_that_is_calm_does_not_end_it(history: None) -> None:
    """The whole is back within 20 %, because others do less; the guilty feature is not."""
    incident = make("mitigating")
    burn("20", "20", "20")
    Incident.objects.update(feature="mail")
    for hour in (UNTIL, UNTIL + HOUR):
        tell_hours({hour: "4.50"}, feature="mail")
    watching.watch(now=UNTIL + 2 * HOUR + timedelta(minutes=5))
    incident.refresh_from_db()
    assert incident.checks_told["cost"]["passed"]
    assert not incident.checks_told["cost:mail"]["passed"]
    assert incident.state == "mitigating"


def test_sums_and_events_give_the_same_hours(history: None) -> None:
    """Whatever the job of the sums has done so far."""
    incident = make()
    now = burn("20", "20", "20")
    before = watching.check(incident, now)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inference_hours (hour, feature, model, trigger_type, requests, failed,"
            " unpriced, users, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,"
            " cost_usd, input_squares, output_squares, cost_squares, input_buckets, output_buckets)"
            " SELECT date_trunc('hour', created_at, 'UTC'), feature, model, trigger_type, count(*),"
            " 0, 0, 1, 0, 0, 0, 0, sum(cost_usd), 0, 0, 0, '{}', '{}'"
            " FROM inference_events GROUP BY 1, 2, 3, 4"
        )
        cursor.execute("DELETE FROM stale_hours WHERE hour < %s", [UNTIL - 2 * HOUR])
    assert watching.check(incident, now) == before


def test_a_spike_that_comes_back_is_the_same_incident(history: None) -> None:
    incident = make("mitigating")
    now = burn("20", "20", "20", "4", "4")
    watching.watch(now=now)
    again = make_finding(until=UNTIL + 2 * HOUR)
    record_verdict(again, now=now)  # the dear hours are still looked at: nothing new
    incident.refresh_from_db()
    assert incident.state == "stabilised"
    now = burn("25", "25", begins=UNTIL + 2 * HOUR)
    record_verdict(make_finding(until=UNTIL + 4 * HOUR, cost="25.00"), now=now)
    incident.refresh_from_db()
    assert (incident.state, incident.stabilised_at) == ("mitigating", None)
    assert IncidentEntry.objects.filter(kind="relapse").count() == 1
    assert Incident.objects.count() == 1


def test_it_escalates_by_time(history: None) -> None:
    for person in ("operations", "director", "vp"):
        make_user(person, groups=[person])
    incident = make("mitigating")
    now = burn("20", "20", "20", "22")  # mitigated at 15:05: no whole hour since
    assert watching.watch(now=now)[1] == 0  # it is major, and somebody did something
    handling.set_severity(incident.pk, "critical", reason="night", by="olga", now=now)
    assert watching.watch(now=now)[1] == 1  # at once
    incident.refresh_from_db()
    levels = [incident.escalation]
    for cost in ("21", "20"):  # not rising, and still above
        now = burn(cost, begins=whole_hour(now))
        watching.watch(now=now)
        watching.watch(now=now)  # twice is as good as once
        incident.refresh_from_db()
        levels.append(incident.escalation)
    assert levels == [1, 2, 3]
    escalated = ("INCIDENT_ESCALATED", f"incident {incident.pk}", "tollgate")
    assert trail("INCIDENT_ESCALATED") == [escalated] * 3
    assert meta_of("INCIDENT_ESCALATED")["level"] == 3
    messages = OutboxMessage.objects.filter(key__startswith=f"{incident.pk}:level")
    assert sorted(messages.values_list("key", "recipient_label")) == [
        (f"{incident.pk}:level1", "operations"),
        (f"{incident.pk}:level2", "director"),
        (f"{incident.pk}:level2", "operations"),
        (f"{incident.pk}:level3", "director"),
        (f"{incident.pk}:level3", "operations"),
        (f"{incident.pk}:level3", "vp"),
    ]
    assert "Consider switching the feature off" in messages.earliest("-id").text


def test_the_follow_up_is_reminded_of_once(db: None) -> None:
    owner = make_user("olga")
    incident = make("stabilised")
    handling.take(incident.pk, by=owner, now=NOW)
    review(incident)
    assert watching.remind(today=date(2026, 11, 26), now=NOW) == 0
    with time_machine.travel(datetime(2026, 11, 27, tzinfo=UTC), tick=False):
        assert tasks.watch_incidents() == (0, 0, 1)
    assert watching.remind(today=date(2026, 11, 28), now=NOW) == 0
    message = OutboxMessage.objects.get(key=f"{incident.pk}:follow-up")
    assert message.recipient_label == "olga"
    about = f"incident {incident.pk}"
    assert trail("INCIDENT_FOLLOW_UP") == [("INCIDENT_FOLLOW_UP", about, "tollgate")]


@pytest.mark.parametrize("text", ["chat", "it's", "a\\'; DROP TABLE x --", "<b>`ü`\n%s"])
def test_names_are_read_back_as_they_are(db: None, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + queries.literal(text))
        assert cursor.fetchone() == (text,)


def test_the_export(db: None, tmp_path: Path) -> None:
    incident = make("mitigating")
    handling.note(incident.pk, "see [this](x) | # and *that*", by="olga", now=NOW)
    out = StringIO()
    call_command("export_incident", str(incident.pk), stdout=out)
    text = out.getvalue()
    assert text.startswith(f"# Incident \\#{incident.pk}: Context grows in summaries")
    assert "see \\[this\\](x) \\| \\# and \\*that\\*" in text
    assert "| All of the change | $+16.00 |" in text
    assert "SUM(cost\\_usd)" not in text  # a query is code, not prose
    assert "```sql\nWITH hours AS (" in text
    path = tmp_path / "incident.md"
    call_command("export_incident", str(incident.pk), output=path, stdout=StringIO())
    assert path.read_text(encoding="utf-8") == text
    with pytest.raises(CommandError, match="no incident #99"):
        call_command("export_incident", "99")
