"""What is looked for in the log, as conditions that its indexes answer.

A filter is a set of alternatives, each of which one index gives newest first. What no index
answers is a test.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import BigIntegerField, Func

from opslog.database.query import rows
from opslog.identities import canonical
from opslog.models import OperationsEvent

REFUSALS = ("RATE_LIMIT_429", "START_REFUSED", "EXTENSION_REFUSED")
PERIODS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "31d": timedelta(days=31),
}
NAMES_SECONDS = 60  # how old the lists of kinds and owner types may be
PLACE = re.compile(r"(?P<at>[0-9-]{10}T[0-9:.]{15}Z)/(?P<id>[0-9]{1,18})", re.ASCII)


class Times(Func):
    """How many refusals an event stands for: `Times("meta")`. Whoever counts refusals sums this."""

    function = "tollgate.times"
    output_field = BigIntegerField()


@dataclass(frozen=True, slots=True)
class Condition:
    sql: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """What is looked for; empty means no filter. Names are matched exactly, text anywhere in the
    message or in the JSON of meta, in upper or lower case."""

    kind: str = ""  # one kind, or "refusals"
    actor: str = ""
    owner_type: str = ""
    owner_id: str = ""
    work_order: str = ""
    agent: str = ""
    request_id: str = ""
    text: str = ""
    last: str = ""  # a key of PERIODS
    since: datetime | None = None
    until: datetime | None = None

    def range(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """[since, until); a period is counted back from now."""
        since = self.since
        if self.last:
            begins = now - PERIODS[self.last]
            since = max(since, begins) if since else begins
        return since, self.until


@dataclass(frozen=True, slots=True)
class Key:
    """A place in the order of the log."""

    at: datetime
    id: int

    def __str__(self) -> str:
        return f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z/{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Raises ValueError."""
        if not (match := PLACE.fullmatch(text)):
            raise ValueError("no place in the log")
        return cls(datetime.fromisoformat(match["at"]), int(match["id"]))

    @classmethod
    def of(cls, event: OperationsEvent) -> "Key":
        return cls(event.created_at, event.pk)


def drivers_of(filters: Filters) -> dict[str, list[Condition]]:
    """Filter → its alternatives, each of which one index gives in order; most selective first."""
    found: dict[str, list[Condition]] = {}
    if filters.request_id:
        found["request_id"] = [
            Condition("request_id <> '' AND request_id = %s", (filters.request_id,))
        ]
    if filters.owner_id:
        types = [filters.owner_type] if filters.owner_type else _read_names("owner_type")
        found["owner"] = [
            Condition("owner_type = %s AND owner_id = %s", (each, filters.owner_id))
            for each in types
        ]
    elif filters.owner_type and filters.owner_type != "work_order":
        found["owner"] = [
            Condition("owner_type <> 'work_order' AND owner_type = %s", (filters.owner_type,))
        ]
    if filters.work_order:
        # Its own events, and those of other objects that name it.
        found["work_order"] = [
            Condition("owner_type = 'work_order' AND owner_id = %s", (filters.work_order,)),
            Condition(
                "owner_type <> 'work_order' AND meta ? 'woId' AND meta->>'woId' = %s",
                (filters.work_order,),
            ),
        ]
    if filters.agent:
        found["agent"] = [
            Condition(
                "meta ? 'agentName' AND meta->>'agentName' = %s", (canonical(filters.agent),)
            ),
            Condition(
                "owner_type = 'agent' AND owner_id = %s"
                " AND meta->>'agentName' IS DISTINCT FROM owner_id",
                (canonical(filters.agent),),
            ),
        ]
    if filters.actor:
        found["actor"] = [Condition("actor = %s", (filters.actor,))]
    if filters.kind:
        kinds = REFUSALS if filters.kind == "refusals" else (filters.kind,)
        found["kind"] = [Condition("kind = %s", (kind,)) for kind in kinds]
    return found


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def tests_of(filters: Filters) -> dict[str, Condition]:
    """Filters that no index answers."""
    found: dict[str, Condition] = {}
    if filters.owner_type == "work_order" and not filters.owner_id:
        found["owner_type"] = Condition("owner_type = %s", (filters.owner_type,))
    if filters.text:
        # In JSON a quotation mark and a backslash are written with a backslash.
        in_json = json.dumps(filters.text, ensure_ascii=False)[1:-1]
        found["text"] = Condition(
            "(message ILIKE %s OR meta::text ILIKE %s)", (_like(filters.text), _like(in_json))
        )
    return found


def either(alternatives: Sequence[Condition]) -> Condition:
    if not alternatives:
        return Condition("FALSE")
    return Condition(
        "(" + " OR ".join(f"({each.sql})" for each in alternatives) + ")",
        tuple(value for each in alternatives for value in each.params),
    )


def every(conditions: Sequence[Condition]) -> Condition:
    return Condition(
        " AND ".join(each.sql for each in conditions) or "TRUE",
        tuple(value for each in conditions for value in each.params),
    )


def within(since: datetime | None, until: datetime | None) -> list[Condition]:
    found = []
    if since:
        found.append(Condition("created_at >= %s", (since,)))
    if until:
        found.append(Condition("created_at < %s", (until,)))
    return found


NEXT_NAME = """
WITH RECURSIVE names AS (
    (SELECT {column} AS name FROM operations_events ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT {column} FROM operations_events WHERE {column} > names.name
            ORDER BY {column} LIMIT 1)
    FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name <> '' LIMIT 500
"""


def _read_names(column: str) -> list[str]:
    """The different values of an indexed column: a jump to the next one each, no reading of all."""
    return [row[0] for row in rows(NEXT_NAME.format(column=column))]


def _names(column: str) -> list[str]:
    key = f"opslog.names.{column}"
    found = cache.get(key)
    if found is None:
        cache.set(key, found := _read_names(column), NAMES_SECONDS)
    return list(found)


def kinds() -> list[str]:
    """To choose from: at most a minute old."""
    return _names("kind")


def owner_types() -> list[str]:
    return _names("owner_type")
