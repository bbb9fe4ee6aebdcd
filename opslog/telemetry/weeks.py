"""The weekly partitions of telemetry: made ahead of time, dropped when all in them is too old."""

from collections.abc import Iterable
from datetime import date
from typing import Final

from django.db import connection

from opslog.database.query import value

SHORTEST: Final = 7  # days; the database refuses less


def make(days: Iterable[date] = ()) -> int:
    """Make the partitions of these days' weeks, else those until two weeks ahead; returns how many.

    Raises DatabaseError for a day more than ten years ago.
    """
    with connection.cursor() as cursor:
        made = 0
        for day in sorted(set(days)):
            cursor.execute("SELECT tollgate.ensure_telemetry_partitions_v1(%s, %s)", [day, day])
            made += cursor.fetchone()[0]
        cursor.execute("SELECT tollgate.ensure_telemetry_partitions_v1()")
        return made + int(cursor.fetchone()[0])


def drop(*, older_than_days: int) -> list[str]:
    """Drop the partitions whose rows are all older; returns their names. 0 keeps everything.

    The routine writes the event. The sums by the hour stay. A week that has not been summed up yet
    stays until it is.
    """
    if not older_than_days:
        return []
    dropped: list[str] = value(
        "SELECT tollgate.drop_telemetry_partitions_v1(%s)", [older_than_days]
    )
    return dropped
