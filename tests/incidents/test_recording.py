"""A verdict becomes one incident, however often and by however many it is reported."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from opslog.incidents import detecting, handling, mitigating, notices
from opslog.incidents.detecting import record_verdict
from opslog.models import Incident, IncidentEntry, Mitigation, OperationsEvent, OutboxMessage
from tests.factories import make_user
from tests.incidents.findings import HOUR, make_finding, whole_hour
from tests.trail import meta_of, trail

NOW = datetime(2026, 11, 20, 15, 5, tzinfo=UTC)
UNTIL = whole_hour(NOW)


def test_no_spike_makes_no_incident(db: None) -> None:
    assert record_verdict(None, now=NOW) is None
    assert not Incident.objects.exists()


def test_a_spike_makes_one_with_everything_that_was_found(db: None) -> None:
    make_user("olga", groups=["operations"])
    finding = make_finding(until=UNTIL)
    incident = record_verdict(finding, now=NOW)
    assert incident is not None
    incident.refresh_from_db()
    assert (incident.state, incident.severity, incident.cause) == (
        "triaged",
        "major",
        "context_bloat",
    )
    assert incident.excess_usd_per_hour == Decimal(16)
    assert [each["usdPerHour"] for each in incident.contributions] == ["-0.50", "16.00", "0.50"]
    assert incident.detected_at == NOW
    event = OperationsEvent.objects.get(kind="INCIDENT_DETECTED")
    assert (event.owner_type, event.owner_id) == ("incident", str(incident.pk))
    assert "$20.00 an hour, where $4.00 is normal" in event.message
    message = OutboxMessage.objects.get()
    assert (message.recipient_label, message.link) == (
        "olga",
        f"/admin/opslog/incident/{incident.pk}/change/",
    )
    levers = list(incident.mitigations.values_list("lever", flat=True))
    assert levers[0] == "context_messages"
    assert set(levers) == {
        "context_messages", "throttle", "cost_cap", "feature_off", "kill_switch",
    }  # fmt: skip


def test_the_same_verdict_again_changes_nothing(db: None) -> None:
    make_user("olga", groups=["operations"])
    finding = make_finding(until=UNTIL)
    first = record_verdict(finding, now=NOW)
    before = rows()
    second = record_verdict(finding, now=NOW + timedelta(minutes=1))
    assert (first and first.pk) == (second and second.pk)
    assert rows() == before


def rows() -> list[str | None]:
    found = []
    with connection.cursor() as cursor:
        for table in (
            "incidents", "incident_entries", "incident_mitigations", "operations_events",
            "outbox_messages",
        ):  # fmt: skip
            cursor.execute(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t")
            found.append(cursor.fetchone()[0])
    return found


def test_a_later_verdict_updates_it(db: None) -> None:
    first = record_verdict(make_finding(until=UNTIL, cause="none", feature=""), now=NOW)
    assert first is not None
    assert first.state == "detected"
    later = make_finding(until=UNTIL + HOUR, cost="40.00", started_at=UNTIL - 3 * HOUR)
    record_verdict(later, now=NOW + HOUR)
    incident = Incident.objects.get()
    assert (incident.state, incident.feature, incident.severity) == (
        "triaged",
        "summaries",
        "critical",
    )
    assert incident.started_at == UNTIL - 3 * HOUR
    verdict = IncidentEntry.objects.get(kind="verdict")
    assert verdict.data["changes"]["cause"] == {"old": "none", "new": "context_bloat"}
    about = f"incident {incident.pk}"
    assert trail("INCIDENT_") == [
        ("INCIDENT_DETECTED", about, "triage"),
        ("INCIDENT_TRIAGED", about, "triage"),
    ]
    assert meta_of("INCIDENT_TRIAGED")["changes"] == verdict.data["changes"]


def test_an_older_look_is_left_aside(db: None) -> None:
    record_verdict(make_finding(until=UNTIL + HOUR, cost="40.00"), now=NOW)
    record_verdict(make_finding(until=UNTIL, cost="20.00"), now=NOW)
    assert Incident.objects.get().cost_usd_per_hour == 40


def test_proposals_come_and_go_and_what_was_decided_stays(db: None) -> None:
    incident = record_verdict(make_finding(until=UNTIL), now=NOW)
    assert incident is not None
    context = incident.mitigations.get(lever="context_messages")
    mitigating.dismiss(context.pk, reason="not ours to set", by="olga", now=NOW)
    storm = make_finding(
        until=UNTIL + HOUR,
        cause="tool_failure_storm",
        tool="search",
        parts=make_finding(until=UNTIL).parts.__class__(retry_usd=Decimal(9)),
    )
    record_verdict(storm, now=NOW + HOUR)
    states = dict(incident.mitigations.values_list("lever", "state"))
    assert states["context_messages"] == "dismissed"
    assert states["cost_cap"] == "withdrawn"
    assert states["tool_breaker"] == states["throttle"] == "proposed"
    record_verdict(make_finding(until=UNTIL + 2 * HOUR), now=NOW + 2 * HOUR)
    states = dict(incident.mitigations.values_list("lever", "state"))
    assert states["cost_cap"] == "proposed"
    assert states["context_messages"] == "dismissed"


def test_what_a_person_said_is_left_alone(db: None) -> None:
    incident = record_verdict(make_finding(until=UNTIL), now=NOW)
    assert incident is not None
    Incident.objects.update(
        cause="output_growth", cause_by_hand=True, severity="minor", severity_by_hand=True
    )
    record_verdict(make_finding(until=UNTIL + HOUR, cost="90.00"), now=NOW + HOUR)
    incident.refresh_from_db()
    assert (incident.cause, incident.severity) == ("output_growth", "minor")
    assert incident.cost_usd_per_hour == 90


def proposed(incident: Incident) -> list[str]:
    found = incident.mitigations.filter(state="proposed").order_by("rank")
    return list(found.values_list("lever", flat=True))


def test_what_is_proposed_follows_the_cause_that_a_person_named(db: None) -> None:
    """At once, and after the verdicts that come, which still find another cause."""
    storm: dict[str, Any] = {"cause": "tool_failure_storm", "tool": "search", "contributions": ()}
    incident = record_verdict(make_finding(until=UNTIL, **storm), now=NOW)
    assert incident is not None
    assert proposed(incident)[:2] == ["tool_breaker", "tool_retries"]
    arguments = {"reason": "I looked", "by": "olga", "now": NOW}
    handling.set_cause(incident.pk, "context_bloat", **arguments)  # type: ignore[arg-type]
    for _ in range(2):
        levers = proposed(incident)
        assert levers[0] == "context_messages"
        assert not {"tool_breaker", "tool_retries"} & set(levers)
        assert {"throttle", "cost_cap", "feature_off"} <= set(levers)
        ranks = list(incident.mitigations.filter(state="proposed").values_list("rank", flat=True))
        assert len(ranks) == len(set(ranks))
        record_verdict(make_finding(until=UNTIL + HOUR, **storm), now=NOW + HOUR)
    handling.set_cause(incident.pk, "hidden_recompute", **arguments)  # type: ignore[arg-type]
    assert set(proposed(incident)[:3]) == {"auto_save", "undo_rate", "tool_retries"}


def test_traffic_of_everything_is_in_no_feature(db: None) -> None:
    record_verdict(make_finding(until=UNTIL), now=NOW)
    unknown = make_finding(until=UNTIL + HOUR, cause="none", feature="")
    record_verdict(unknown, now=NOW + HOUR)
    assert Incident.objects.get().feature == "summaries"  # what was known stays
    traffic = make_finding(until=UNTIL + 2 * HOUR, cause="traffic_growth", feature="")
    record_verdict(traffic, now=NOW + 2 * HOUR)
    incident = Incident.objects.get()
    assert (incident.cause, incident.feature) == ("traffic_growth", "")
    changed = IncidentEntry.objects.filter(kind="verdict").last()
    assert changed is not None
    assert changed.data["changes"]["feature"] == {"old": "summaries", "new": ""}
    assert "throttle" not in proposed(incident)


@pytest.mark.parametrize("at", ["_propose", "_create", "notices"])
def test_killed_in_the_middle_and_run_again(
    db: None, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whatever it had done is undone with its transaction; the next run does it all, once."""
    finding = make_finding(until=UNTIL)

    class Killed(BaseException):
        pass

    def die(*args: object, **kwargs: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        target = (notices, "tell") if at == "notices" else (detecting, at)
        patched.setattr(*target, die)
        with pytest.raises(Killed):
            record_verdict(finding, now=NOW)
    assert not Incident.objects.exists()
    assert not OperationsEvent.objects.filter(kind="INCIDENT_DETECTED").exists()
    record_verdict(finding, now=NOW)
    assert Incident.objects.count() == IncidentEntry.objects.count() == 1


THREADS = 8


def race() -> list[str]:
    """Eight jobs with the same verdict at the same moment, each on a connection of its own."""
    barrier = threading.Barrier(THREADS)
    finding = make_finding(until=UNTIL)

    def run(_: int) -> str:
        barrier.wait()
        try:
            incident = record_verdict(finding, now=NOW)
            return str(incident and incident.pk)
        except IntegrityError as error:
            return "stopped by a constraint: " + str(error).splitlines()[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_two_jobs_at_once_make_one_incident(committed_db: str) -> None:
    found = race()
    assert set(found) == {str(Incident.objects.get().pk)}
    assert OperationsEvent.objects.filter(kind="INCIDENT_DETECTED").count() == 1
    assert not Mitigation.objects.filter(rank=0).exists()


def test_without_the_lock_the_race_is_real(
    committed_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: then only the unique index stops the others, with an error each."""
    monkeypatch.setattr(detecting, "hold_all", lambda: None)
    found = race()
    assert any("incidents_one_open" in each for each in found)
    assert Incident.objects.count() == 1


def test_the_index_stands_behind_the_lock(db: None) -> None:
    incident = record_verdict(make_finding(until=UNTIL), now=NOW)
    assert incident is not None
    incident.pk = None
    with pytest.raises(IntegrityError, match="incidents_one_open"), transaction.atomic():
        incident.save(force_insert=True)
