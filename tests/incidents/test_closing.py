"""Weeks replayed hour by hour: what was closed too early reopens, what was over stays over, what
comes back is a phase of its own. Real rows, and the jobs as they run."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from budgets.controls import automatic_mitigation, features
from budgets.models import FeatureControl
from opslog.incidents import handling, reviewing, triage_job, triage_reads, watching
from opslog.incidents.detecting import record_verdict
from opslog.models import Incident, IncidentEntry, OperationsEvent, OutboxMessage
from opslog.telemetry import rollup
from opslog.triage.data import Rollups
from opslog.triage.owned import Owned, without
from tests.factories import make_user
from tests.incidents.findings import HOUR, NORMAL, make_finding, tell_hours, whole_hour
from tests.triage.weeks import MONDAY, rollups

BEGIN = whole_hour(datetime.fromisoformat("2026-11-14T12:00:00+00:00"))
SPIKE = BEGIN + timedelta(days=6)
LONG = 7700  # tokens of a call that costs more because it is longer
WHY = "looked into"


def tell(letters: str, since: datetime, feature: str = "summaries") -> datetime:
    """An hour for each letter: n is normal ($4), D dear ($20), H dearer ($50), - silent. Gives
    the end of the last one."""
    usd = {"n": NORMAL, "D": Decimal(20), "H": Decimal(50)}
    for letter in set(letters) - {"-"}:
        hours = {since + n * HOUR: usd[letter] for n, each in enumerate(letters) if each == letter}
        tell_hours(hours, feature, input_tokens=900 if letter == "n" else LONG)
    return since + len(letters) * HOUR


def look(until: datetime) -> Incident | None:
    """What the jobs do at five past."""
    rollup.refresh()
    now = until + timedelta(minutes=5)
    found = triage_job.run(now=now)
    watching.watch(now=now)
    return found


def live(letters: str, since: datetime, feature: str = "summaries") -> datetime:
    """Hour by hour, with the jobs after each."""
    for n, letter in enumerate(letters):
        tell(letter, since + n * HOUR, feature)
        look(since + (n + 1) * HOUR)
    return since + len(letters) * HOUR


def close(incident: Incident, at: datetime, *, reviewed: bool = True) -> None:
    now = at + timedelta(minutes=10)
    incident.refresh_from_db()
    if incident.is_active:
        watching.stabilise(incident.pk, reason=WHY, by="olga", now=now)
    if reviewed:
        reviewing.review(
            incident.pk, root_cause="The prompt", mitigation="Rolled back", alert_created=True,
            follow_up_on=date(2026, 12, 24), by="dora", now=now,
        )  # fmt: skip


@pytest.fixture
def week(db: None) -> None:
    """Six normal days."""
    for person in ("operations", "director", "vp"):
        make_user(person, groups=[person])
    tell("n" * 144, BEGIN)


def the_one() -> Incident:
    return Incident.objects.get()


def events(kind: str) -> int:
    return OperationsEvent.objects.filter(kind=kind).count()


@pytest.mark.parametrize("reviewed", [True, False], ids=["reviewed", "stabilised"])
def test_closed_while_it_still_costs_it_reopens(week: None, reviewed: bool) -> None:
    at = live("DDDDD", SPIKE)
    incident = the_one()
    assert incident.started_at == SPIKE
    close(incident, at, reviewed=reviewed)
    at = live("DDD", at)
    incident = the_one()
    assert (incident.state, incident.stabilised_at, incident.started_at) == ("triaged", None, SPIKE)
    assert (incident.reviewed_at, incident.reviewed_by) == (None, "")
    assert (incident.reopenings, incident.earlier) == (1, [])
    assert incident.excess_usd_of_all_phases == 8 * 16  # eight hours at $16 above, once
    assert (events("INCIDENT_DETECTED"), events("INCIDENT_REOPENED")) == (1, 1)
    messages = OutboxMessage.objects.filter(key=f"{incident.pk}:reopened:1")
    assert [each.recipient_label for each in messages] == ["operations"]
    # The answers are in the timeline, and filled in for the next review.
    assert incident.entries.filter(kind="review").count() == reviewed
    assert incident.root_cause == ("The prompt" if reviewed else "")
    at = live("nn", at)
    close(incident, at)
    assert the_one().state == "reviewed"
    assert incident.entries.filter(kind="review").count() == 1 + reviewed


def test_no_lever_is_pulled_twice_for_it(week: None) -> None:
    """Reviewing it used to make a second incident, which the automatic levers hit again."""
    for lever in ("throttle", "feature_off"):
        automatic_mitigation.set_lever(
            lever, enabled=True, minutes=30, reason=WHY, by="dora", now=SPIKE
        )
    at = live("DDDDD", SPIKE)
    automatic_mitigation.apply_proposals(now=at)
    automatic_mitigation.end_overdue(now=at + HOUR)
    close(the_one(), at)
    live("DDD", at)
    assert automatic_mitigation.apply_proposals(now=at + 3 * HOUR) == 0
    assert Incident.objects.count() == 1
    assert FeatureControl.objects.get().enabled


def test_a_blip_after_a_review_opens_nothing(week: None) -> None:
    at = live("DDDDDDDDDnn", SPIKE)
    assert the_one().state == "stabilised"
    close(the_one(), at)
    live("nDnnnnnDnnnnnnnnnn", at)
    assert (the_one().state, the_one().reopenings) == ("reviewed", 0)


def test_a_spike_after_a_review_is_a_new_incident_with_its_own_dollars(week: None) -> None:
    at = live("DDDDDDDDDnn", SPIKE)
    close(the_one(), at)
    begins = at + 4 * HOUR
    live("nnnnHHHHH", at)
    first, second = Incident.objects.order_by("id")
    assert (first.state, first.excess_usd_total) == ("reviewed", Decimal(9 * 16))
    assert second.started_at == begins
    assert second.baseline_usd_per_hour == pytest.approx(NORMAL)
    assert second.cost_usd_per_hour == pytest.approx(Decimal(50))
    assert second.excess_usd_total == pytest.approx(Decimal(5 * 46))


def test_a_relapse_is_a_phase_of_its_own(week: None) -> None:
    """$20 an hour for eight hours, eleven calm ones, and $50 an hour: twelve times the normal."""
    at = live("DDDDDDDD", SPIKE)
    incident = the_one()
    assert (incident.severity, incident.escalation) == ("major", 2)
    at = live("nn" + "n" * 9, at)
    assert the_one().state == "stabilised"
    begins = at
    at = live("HHH", at)
    incident = the_one()
    assert incident.state == "triaged"
    assert incident.started_at == begins
    assert incident.cost_usd_per_hour == pytest.approx(Decimal(50))
    assert incident.baseline_usd_per_hour == pytest.approx(NORMAL)
    assert incident.severity == "critical"
    assert incident.excess_usd_total == pytest.approx(Decimal(3 * 46))
    (earlier,) = incident.earlier
    assert (earlier["startedAt"], earlier["severity"], earlier["escalation"]) == (
        SPIKE.isoformat(), "major", 2,
    )  # fmt: skip
    # ($20 − $4) × 8 hours, ($50 − $4) × 3, and nothing for the eleven between.
    assert incident.excess_usd_of_all_phases == pytest.approx(Decimal(8 * 16 + 3 * 46))
    # Level 1 at once, as it is critical; the others an hour each; all are notified again.
    levels = [incident.escalation]
    for _ in range(2):
        at = live("H", at)
        levels.append(the_one().escalation)
    assert levels == [1, 2, 3]
    messages = OutboxMessage.objects.filter(key__endswith="level2:1").values_list("recipient_label")
    assert {label for (label,) in messages} == {"operations", "director"}
    relapse = OutboxMessage.objects.filter(key=f"{incident.pk}:relapse:1")
    assert {each.recipient_label for each in relapse} == {"operations"}
    assert events("INCIDENT_RELAPSED") == 1


def test_an_owner_and_whoever_is_on_duty_hear_of_a_relapse(week: None) -> None:
    at = live("DDDDD", SPIKE)
    handling.take(the_one().pk, by=make_user("olga"), now=at)
    live("nn" + "nnn" + "HHH", at)
    messages = OutboxMessage.objects.filter(key=f"{the_one().pk}:relapse:1")
    assert {each.recipient_label for each in messages} == {"olga", "operations"}


def test_what_a_person_set_is_of_the_phase_it_was_set_for(week: None) -> None:
    at = live("DDDDD", SPIKE)
    handling.set_severity(the_one().pk, "minor", reason=WHY, by="olga", now=at)
    live("nn" + "nnn" + "HHH", at)
    assert (the_one().severity, the_one().severity_by_hand) == ("critical", False)


def test_a_third_phase(week: None) -> None:
    at = SPIKE
    for _ in range(3):
        at = live("DDDDnn", at)
    incident = the_one()
    assert (incident.reopenings, len(incident.earlier)) == (2, 2)
    assert incident.excess_usd_of_all_phases == pytest.approx(Decimal(3 * 4 * 16))
    assert incident.state == "stabilised"


def test_without_telemetry_a_verdict_reopens_it(db: None) -> None:
    """The triage says that it still burns, and there is no hour that says otherwise."""
    incident = record_verdict(make_finding(until=SPIKE), now=SPIKE)
    assert incident is not None
    close(incident, SPIKE)
    found = record_verdict(make_finding(until=SPIKE + 2 * HOUR), now=SPIKE + 2 * HOUR)
    assert (found, the_one().state) == (incident, "triaged")


def test_a_reviewed_incident_changes_in_nothing_but_reopening(db: None) -> None:
    incident = record_verdict(make_finding(until=SPIKE), now=SPIKE)
    assert incident is not None
    close(incident, SPIKE)
    reopened = {
        "state": "triaged", "stabilised_at": None, "reviewed_at": None, "reviewed_by": "",
        "reopenings": 1, "reopened_at": SPIKE,
    }  # fmt: skip
    for more in ({"root_cause": "Another"}, {"excess_usd_total": 0}, {"reopenings": 0}):
        with pytest.raises(IntegrityError, match="changes no more"), transaction.atomic():
            Incident.objects.filter(pk=incident.pk).update(**{**reopened, **more})
    Incident.objects.filter(pk=incident.pk).update(**reopened)


# Silence of the guilty feature, while others talk.


@pytest.fixture
def two(week: None) -> None:
    tell("n" * 144, BEGIN, "chat")


def calm_hours(at: datetime, letters: str = "-") -> datetime:
    """Six hours in which chat talks, and the guilty feature as given."""
    for n in range(6):
        tell("n", at + n * HOUR, "chat")
        tell(letters, at + n * HOUR)
        look(at + (n + 1) * HOUR)
    return at + 6 * HOUR


def burn(at: datetime) -> datetime:
    for n in range(5):
        tell("n", at + n * HOUR, "chat")
        tell("D", at + n * HOUR)
        look(at + (n + 1) * HOUR)
    assert the_one().feature == "summaries"
    return at + 5 * HOUR


def test_a_guilty_feature_that_falls_silent_is_not_stable(two: None) -> None:
    calm_hours(burn(SPIKE))
    incident = the_one()
    assert incident.state == "triaged"
    assert incident.checks_told["cost"]["passed"]
    assert not incident.checks_told["telemetry"]["passed"]
    assert "0 calls" in incident.checks_told["telemetry"]["told"]


def test_it_is_stable_once_it_talks_again(two: None) -> None:
    calm_hours(calm_hours(burn(SPIKE)), "n")
    assert the_one().state == "stabilised"


def test_a_feature_that_is_switched_off_is_silent_for_a_reason(two: None) -> None:
    at = burn(SPIKE)
    features.change("summaries", {"enabled": False}, reason=WHY, by="olga")
    calm_hours(at)
    assert the_one().state == "stabilised"


def test_hours_that_are_always_silent_are_no_silence(db: None) -> None:
    """A feature of the day: it burned until the evening, and nights are quiet."""
    day = "-" * 8 + "n" * 8 + "-" * 8
    tell("n" * 168, BEGIN, "chat")
    for n in range(7):
        tell(day, whole_hour(BEGIN).replace(hour=0) + n * timedelta(days=1))
    evening = BEGIN.replace(hour=16) + timedelta(days=6)
    finding = make_finding(until=evening, started_at=evening - 4 * HOUR)
    record_verdict(finding, now=evening)
    watching.watch(now=evening + 3 * HOUR + timedelta(minutes=5))
    incident = the_one()
    assert incident.checks_told == {}
    assert incident.state == "stabilised"


# Each job goes on where one row fails.


@pytest.mark.parametrize("broken", ["stabilise_if_calm", "escalate_if_due"])
def test_one_incident_that_cannot_be_checked_does_not_hide_the_others(
    week: None, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    for feature, hours in (("mail", 3), ("search", 13)):
        began = SPIKE - hours * HOUR
        record_verdict(
            make_finding(until=SPIKE, feature=feature, cost="90.00", started_at=began), now=SPIKE
        )
    tell("HHHH", SPIKE - 3 * HOUR)
    first = Incident.objects.earliest("id").pk
    real: Callable[..., bool] = getattr(watching, broken)

    def fail(pk: int, *, now: datetime) -> bool:
        if pk == first:
            raise ArithmeticError
        return real(pk, now=now)

    monkeypatch.setattr(watching, broken, fail)
    watching.watch(now=SPIKE + HOUR + timedelta(minutes=5))
    assert [each.escalation for each in Incident.objects.order_by("id")] == [0, 1]


def test_one_verdict_that_cannot_be_recorded_does_not_hide_the_others(
    two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = SPIKE - 30 * HOUR
    record_verdict(make_finding(until=SPIKE, feature="chat", started_at=began), now=SPIKE)
    tell("DDDDDDDDDD", SPIKE)
    tell("n" * 10, SPIKE, "chat")

    def fail(*result: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(triage_job, "followed", fail)
    for n in range(5, 11):
        look(SPIKE + n * HOUR)
    assert set(Incident.objects.values_list("feature", flat=True)) >= {"summaries"}


# Hours that are taken out, without a database.


def by_hour(given: Rollups, feature: str = "") -> Mapping[datetime, float]:
    sums: dict[datetime, float] = {}
    for cell in given.cells:
        if feature in ("", cell.feature):
            sums[cell.hour] = sums.get(cell.hour, 0.0) + cell.cost_usd
    return sums


def test_owned_hours_are_those_of_the_day_before() -> None:
    burned = rollups("." * 72 + "C" * 30 + "." * 10)
    start = MONDAY + 72 * HOUR
    healed = by_hour(without(burned, [Owned("chat", start, start + 30 * HOUR)]), "chat")
    before = by_hour(burned, "chat")
    for n in range(30):
        # 72 to 95 are hours 48 to 71; 96 to 101 are hours 48 to 53: the day between is owned, too.
        assert healed[start + n * HOUR] == before[MONDAY + (48 + n % 24) * HOUR]
    assert healed[start + 30 * HOUR] == before[start + 30 * HOUR]


@pytest.mark.parametrize(("feature", "same"), [("chat", False), ("agent", True), ("", False)])
def test_only_of_its_feature(feature: str, same: bool) -> None:
    burned = rollups("." * 72 + "C" * 5)
    start = MONDAY + 72 * HOUR
    healed = without(burned, [Owned(feature, start, start + 5 * HOUR)])
    assert (by_hour(healed, "chat") == by_hour(burned, "chat")) == same


def test_the_first_day_takes_the_next_and_a_lone_hour_stays() -> None:
    given = rollups("CCC" + "." * 40)
    healed = by_hour(without(given, [Owned("chat", MONDAY, MONDAY + 3 * HOUR)]), "chat")
    assert healed[MONDAY] == by_hour(given, "chat")[MONDAY + 24 * HOUR]
    alone = rollups("CC")
    assert by_hour(without(alone, [Owned("", MONDAY, MONDAY + HOUR)])) == by_hour(alone)


def test_the_rollups_that_are_read_have_their_totals_changed_alike(week: None) -> None:
    tell("DDDDD", SPIKE)
    rollup.refresh()
    read = triage_reads.rollups(SPIKE + 5 * HOUR)
    healed = without(read, [Owned("summaries", SPIKE, SPIKE + 5 * HOUR)])
    assert len(healed.totals) == len(read.totals)
    assert {round(each.cost_usd, 6) for each in healed.totals} == {4.0}


def test_entries_say_what_happened(week: None) -> None:
    live("DDDDDnnnHHH", SPIKE)
    kinds = list(IncidentEntry.objects.values_list("kind", flat=True))
    assert [kind for kind in kinds if kind in ("detected", "stabilised", "relapse")] == [
        "detected", "stabilised", "relapse",
    ]  # fmt: skip
