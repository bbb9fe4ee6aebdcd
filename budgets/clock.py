"""The clock that admissions go by: the database's, in UTC."""

from datetime import UTC, date, datetime

from opslog.database import query


def now() -> datetime:
    moment: datetime = query.one("SELECT tollgate.now()")[0]
    return moment.astimezone(UTC)


def midnight() -> datetime:
    """The beginning of the UTC day."""
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


def today() -> date:
    return now().date()
