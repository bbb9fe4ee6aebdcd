"""Change markers: what was changed, when and for which feature; charts and triage show them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.db.utils import IntegrityError

from opslog import events
from opslog.identities import canonical
from opslog.models import ChangeMarker

AHEAD: Final = timedelta(days=366)  # a campaign is reported before it begins
BACK: Final = timedelta(days=3660)


class KeyTaken(Exception):
    """The key was used before, for another change."""


class OutOfReach(ValueError):
    """A moment that no change can be of: a slip of the unit, more likely than the truth."""


def record_change(
    *,
    kind: str,
    what: str,
    by: str,
    now: datetime,
    happened_at: datetime | None = None,
    feature: str = "",
    key: str | None = None,
) -> tuple[ChangeMarker, bool]:
    """The marker, and whether it is new. `feature` "" stands for all features; no moment for now.

    With the same key the same change is recorded once, however often it is sent. Raises KeyTaken
    where the key was used for another one, OutOfReach for a moment more than ten years ago or more
    than a year ahead.
    """
    at, feature = (happened_at or now).astimezone(UTC), canonical(feature)
    if not now - BACK <= at <= now + AHEAD:
        raise OutOfReach("expected a moment of the last ten years or of the next year")
    try:
        with transaction.atomic():
            marker = ChangeMarker.objects.create(
                kind=kind, happened_at=at, what=what, feature=feature, key=key, recorded_by=by
            )
            events.record(
                "CHANGE_RECORDED",
                message=f"{marker} ({feature or 'all features'}, {at:%Y-%m-%d %H:%M} UTC)",
                actor=by,
                owner=("change", str(marker.pk)),
                label=what[:100],
                meta={
                    "kind": kind,
                    "what": what,
                    "feature": feature,
                    "happenedAt": at.isoformat(),
                    **({"key": key} if key is not None else {}),
                },
            )
    except IntegrityError:
        first = ChangeMarker.objects.filter(key=key).first() if key is not None else None
        if first is None:
            raise
        # Without a moment it was reported as "now", which is another one each time.
        same_moment = happened_at is None or first.happened_at == at
        if not same_moment or (first.kind, first.what, first.feature) != (kind, what, feature):
            raise KeyTaken("this key was told before, of another change") from None
        return first, False
    marker.refresh_from_db()
    return marker, True


def markers_between(start: datetime, end: datetime, feature: str = "") -> QuerySet[ChangeMarker]:
    """The changes of [start, end), oldest first. With a feature: its own, and those of all."""
    found = ChangeMarker.objects.filter(happened_at__gte=start, happened_at__lt=end)
    if feature:
        found = found.filter(feature__in=("", feature))
    return found.order_by("happened_at", "id")


def for_chart(start: datetime, end: datetime, feature: str = "") -> list[tuple[datetime, str]]:
    """The changes of [start, end) as `opslog.pages.charts` takes them."""
    return [labeled(each) for each in markers_between(start, end, feature)]


def labeled(marker: ChangeMarker) -> tuple[datetime, str]:
    return marker.happened_at, f"{marker} ({marker.feature})" if marker.feature else str(marker)


def for_days(days: Sequence[date]) -> list[tuple[datetime, str]]:
    """As `for_chart`, for a chart of these days (UTC), oldest first."""
    if not days:
        return []
    first, last = (datetime.combine(day, time(), UTC) for day in (days[0], days[-1]))
    return for_chart(first, last + timedelta(days=1))
