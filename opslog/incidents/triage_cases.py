"""Playing labelled cases: a folder with recorded telemetry becomes predictions, hour by hour.

A case is a folder with `inference_events.csv.gz` and `tool_calls.csv.gz` (the columns of
`manage.py import_events`). It is played as it would have happened: what is older than "now" is in
the tables, the triage runs, "now" moves on by an hour. What is played goes into a database of its
own, through the tables and the sums that real telemetry goes through.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection

from opslog.database.query import run
from opslog.incidents import triage_job
from opslog.models import Incident
from opslog.telemetry import rollup

FIRST_HOUR = 72  # there is no judging before three days of history
HOUR = timedelta(hours=1)

COLUMNS = {
    "inference_events": {
        "event_id": "event_id",
        "created_at": "created_at",
        "user_id": "user_id",
        "feature": "feature",
        "model": "model",
        "trigger_type": "trigger_type",
        "input_tokens": "input_tokens",
        "output_tokens": "output_tokens",
        "cost_usd": "cost_usd",
        "success": "success",
    },
    "tool_calls": {
        "tool_call_id": "event_id",
        "event_id": "inference_event_id",
        "created_at": "created_at",
        "user_id": "user_id",
        "feature": "feature",
        "tool_name": "tool_name",
        "attempt": "retries",
        "success": "success",
    },
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The triage's result for a case; `detected_at` is the "now" of the first confirmed verdict."""

    case_id: str
    spike: bool
    cause: str
    feature: str | None
    tool: str | None
    detected_at: datetime | None
    ranked_causes: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "case_id": self.case_id,
            "spike": self.spike,
            "cause": self.cause,
            "feature": self.feature,
            "tool": self.tool,
            "detected_at": self.detected_at and self.detected_at.isoformat(),
            "ranked_causes": self.ranked_causes,
        }


def folders(given: Path) -> list[Path]:
    """The case itself, or the cases below a folder, by name."""
    if (given / "inference_events.csv.gz").is_file():
        return [given]
    return sorted(path.parent for path in given.glob("*/inference_events.csv.gz"))


def play(folder: Path) -> Prediction:
    """One case, on an empty database that this process is connected to. Returns the last result
    of the first incident, because an open incident follows its evidence."""
    events = hours_of(folder / "inference_events.csv.gz", "inference_events")
    tools = hours_of(folder / "tool_calls.csv.gz", "tool_calls")
    begin = min(events)
    end = max(events)
    ensure_partitions(begin)
    for hour in hours(begin, end):
        for table, rows_by_hour in (("inference_events", events), ("tool_calls", tools)):
            copy(table, rows_by_hour.get(hour, []))
        now = hour + HOUR
        if now - begin >= FIRST_HOUR * HOUR:
            rollup.refresh()
            triage_job.run(now=now, floor_usd_per_hour=0.0)  # a week of cents is a week, too
    return predicted(folder.name)


def predicted(case_id: str) -> Prediction:
    incident = Incident.objects.order_by("detected_at", "id").first()
    if incident is None:
        return Prediction(case_id, False, "none", None, None, None, [])
    return Prediction(
        case_id,
        True,
        incident.cause,
        incident.feature or None,
        incident.tool or None,
        incident.detected_at,
        [each["cause"] for each in incident.ranked_causes],
    )


def hours(begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin <= end:
        yield begin
        begin += HOUR


def hours_of(file: Path, table: str) -> dict[datetime, list[tuple[Any, ...]]]:
    """The rows of a file by the hour they fell into, as the columns of the table."""
    found: dict[datetime, list[tuple[Any, ...]]] = {}
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            at = datetime.fromisoformat(row["created_at"].replace("Z", "+00:00")).astimezone(UTC)
            if "attempt" in row:
                row["attempt"] = str(int(row["attempt"]) - 1)
            hour = at.replace(minute=0, second=0, microsecond=0)
            found.setdefault(hour, []).append(tuple(row[name] for name in COLUMNS[table]))
    return found


def copy(table: str, rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    columns = ", ".join(COLUMNS[table].values())
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as pipe,
    ):
        for row in rows:
            pipe.write_row(row)


def ensure_partitions(begin: datetime) -> None:
    run("SELECT tollgate.ensure_telemetry_partitions_v1(%s)", [begin.date()])
