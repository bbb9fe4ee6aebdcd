"""Weekly partitions: made ahead, dropped when all in them is too old, and nothing else ever."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from opslog import tasks
from opslog.models import InferenceEvent, InferenceHour, OperationsEvent, ToolCall
from opslog.telemetry import rollup, weeks
from opslog.telemetry.accepting import accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

pytestmark = pytest.mark.usefixtures("db")
NOW = datetime.now(UTC)
MONDAY = NOW.date() - timedelta(days=NOW.weekday())


def partitions(parent: str = "inference_events") -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            [parent],
        )
        return {name for (name,) in cursor.fetchall()}


def named(monday: date, parent: str = "inference_events") -> str:
    return f"{parent}_{monday:%Y_%m_%d}"


def write(days_ago: float, name: str = "e") -> None:
    at = NOW - timedelta(days=days_ago)
    weeks.make([at.date()])
    draft = InferenceDraft(event_id=name, created_at=at, model="m", cost_usd=Decimal(1))
    accept_inference([draft], source="import", any_age=True)
    accept_tools([ToolDraft(event_id=name, created_at=at, tool_name="t")], any_age=True)


def test_two_weeks_ahead_are_there() -> None:
    weeks.make()
    assert {named(MONDAY + timedelta(days=7 * n)) for n in range(3)} <= partitions()
    assert weeks.make() == 0


def test_only_the_weeks_that_are_asked_for() -> None:
    before = partitions()
    old = date(2021, 5, 12)
    assert weeks.make([old, old + timedelta(days=1)]) == 2
    assert partitions() - before == {named(date(2021, 5, 10))}


@pytest.mark.parametrize("day", [date(1999, 1, 1), date(2999, 1, 1)])
def test_not_any_number_of_weeks(day: date) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        weeks.make([day])


def test_dropped_when_all_is_older(settings: Any) -> None:
    """A week whose last day is within retention stays whole."""
    settings.TOLLGATE_EVENT_RETENTION_DAYS = 30
    for days in (60, 38, 29, 1):
        write(days, f"e{days}")
    kept = partitions()
    dropped = tasks.keep_weeks_of_telemetry()
    assert {name.split("_20")[0] for name in dropped} == {"inference_events", "tool_calls"}
    limit = NOW - timedelta(days=30)
    for name in kept - partitions():
        ends = datetime.strptime(name[-10:], "%Y_%m_%d").replace(tzinfo=UTC) + timedelta(days=7)
        assert ends <= limit
    left = set(InferenceEvent.objects.values_list("event_id", flat=True))
    assert left == set(ToolCall.objects.values_list("event_id", flat=True))
    assert {"e29", "e1"} <= left
    assert "e60" not in left
    assert InferenceHour.objects.count() == 4  # the sums stay
    event = OperationsEvent.objects.get(kind="TELEMETRY_DROPPED")
    assert event.meta["tables"] == dropped
    assert tasks.keep_weeks_of_telemetry() == []


def test_rebuilding_leaves_the_sums_of_dropped_weeks(settings: Any) -> None:
    settings.TOLLGATE_EVENT_RETENTION_DAYS = 30
    write(60, "old")
    write(1, "new")
    tasks.keep_weeks_of_telemetry()
    rollup.mark_stale()
    rollup.refresh()
    assert sorted(InferenceHour.objects.values_list("requests", flat=True)) == [1, 1]


def test_zero_keeps_everything(settings: Any) -> None:
    settings.TOLLGATE_EVENT_RETENTION_DAYS = 0
    write(1000)
    assert tasks.keep_weeks_of_telemetry() == []
    assert InferenceEvent.objects.count() == 1


def test_what_is_not_summed_up_yet_is_not_dropped() -> None:
    write(60)
    assert weeks.drop(older_than_days=30) == []
    rollup.refresh()
    assert len(weeks.drop(older_than_days=30)) == 2


def test_rows_of_a_week_that_nobody_made() -> None:
    at = NOW - timedelta(days=60)
    draft = InferenceDraft(event_id="e", created_at=at, model="m")
    accept_inference([draft], source="import", any_age=True)
    assert weeks.make([at.date()]) == 1  # the one of the tools: the row stays where it is
    rollup.refresh()
    weeks.drop(older_than_days=30)
    assert not InferenceEvent.objects.exists()


@pytest.mark.parametrize("days", [6, 1, -1, None])
def test_the_routine_keeps_a_week_at_least(days: int | None) -> None:
    with (
        pytest.raises(DatabaseError, match="seven days"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT tollgate.drop_telemetry_partitions_v1(%s)", [days])


def test_the_application_may_not_drop_by_itself() -> None:
    with (
        pytest.raises(DatabaseError, match="must be owner"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"DROP TABLE {named(MONDAY)}")
