"""Change markers: reported once, kept for good."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError, IntegrityError

from opslog.models import ChangeMarker, OperationsEvent
from opslog.telemetry import change_markers
from opslog.telemetry.change_markers import KeyTaken, OutOfReach, markers_between, record_change

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def tell(what: str = "search 4.12.0", **more: object) -> tuple[ChangeMarker, bool]:
    arguments: dict[str, object] = {"kind": "deploy", "by": "ada", "now": NOW, **more}
    return record_change(what=what, **arguments)  # type: ignore[arg-type]  # by keyword, as given


@pytest.mark.django_db
def test_recorded_with_its_event() -> None:
    marker, new = tell(feature="search", key="k1")
    assert new
    assert (marker.happened_at, marker.recorded_by) == (NOW, "ada")
    event = OperationsEvent.objects.get(kind="CHANGE_RECORDED")
    assert event.message == "deploy: search 4.12.0 (search, 2026-11-26 12:00 UTC)"
    assert (event.owner_type, event.owner_id, event.actor) == ("change", str(marker.pk), "ada")
    assert event.meta["key"] == "k1"


@pytest.mark.django_db
def test_the_same_key_records_once() -> None:
    first, _ = tell(key="k1")
    again, new = tell(key="k1", now=NOW + HOUR)  # no moment given: an hour later is no other change
    assert (again.pk, new) == (first.pk, False)
    assert OperationsEvent.objects.filter(kind="CHANGE_RECORDED").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "other",
    [
        {"what": "search 4.13.0"},
        {"kind": "campaign"},
        {"feature": "chat"},
        {"happened_at": NOW - HOUR},
    ],
)
def test_a_key_of_another_change_is_refused(other: dict[str, object]) -> None:
    tell(key="k1")
    with pytest.raises(KeyTaken):
        tell(**{"key": "k1", **other})  # type: ignore[arg-type]
    assert ChangeMarker.objects.count() == 1


@pytest.mark.django_db
def test_without_a_key_each_telling_is_a_change() -> None:
    tell()
    tell()
    assert ChangeMarker.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("away", [-change_markers.BACK - HOUR, change_markers.AHEAD + HOUR])
def test_moments_out_of_reach(away: timedelta) -> None:
    with pytest.raises(OutOfReach):
        tell(happened_at=NOW + away)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("feature", "found"),
    [("", ["all", "search", "chat"]), ("search", ["all", "search"]), ("draw", ["all"])],
)
def test_markers_of_a_feature_and_of_all(feature: str, found: list[str]) -> None:
    tell("chat", feature="chat", happened_at=NOW)
    tell("search", feature="search", happened_at=NOW - HOUR)
    tell("all", happened_at=NOW - 2 * HOUR)
    tell("too early", happened_at=NOW - 3 * HOUR)
    tell("the end is not in it", happened_at=NOW + HOUR)
    between = markers_between(NOW - 2 * HOUR, NOW + HOUR, feature)
    assert [marker.what for marker in between] == found


@pytest.mark.django_db
@pytest.mark.parametrize(
    "row",
    [
        {"kind": "party"},
        {"what": ""},
        {"recorded_by": ""},
        {"key": ""},
    ],
)
def test_the_database_refuses(row: dict[str, str]) -> None:
    good = {"kind": "deploy", "what": "x", "recorded_by": "ada", "happened_at": NOW}
    with pytest.raises(IntegrityError), transaction.atomic():
        ChangeMarker.objects.create(**{**good, **row})


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize("alias", ["default", "owner"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE change_markers SET what = 'y'",
        "DELETE FROM change_markers",
        "TRUNCATE change_markers",
    ],
)
def test_nobody_alters_one(alias: str, statement: str) -> None:
    tell()
    with pytest.raises(DatabaseError), connections[alias].cursor() as cursor:
        cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("SELECT what FROM change_markers")
        assert cursor.fetchall() == [("search 4.12.0",)]
