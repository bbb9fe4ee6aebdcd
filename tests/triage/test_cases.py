"""Playing a labelled case: from its files through the tables to a line of predictions."""

import csv
import gzip
import json
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

BEGIN = datetime.fromisoformat("2026-03-02T00:00:00+00:00")
HOUR = timedelta(hours=1)
SPIKE = 84  # the hour in which answers become eight times as long
HOURS = 90
EVENTS = (
    "event_id", "created_at", "user_id", "feature", "model", "trigger_type", "input_tokens",
    "output_tokens", "cost_usd", "success",
)  # fmt: skip
TOOLS = (
    "tool_call_id", "event_id", "created_at", "user_id", "feature", "tool_name", "attempt",
    "success",
)  # fmt: skip


def packed(file: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with gzip.open(file, "wt", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(columns)
        writer.writerows(rows)


def make_case(folder: Path, name: str, *, spike: bool) -> None:
    """Thirty calls an hour for nearly four days; each fifth calls a tool."""
    events: list[tuple[object, ...]] = []
    tools: list[tuple[object, ...]] = []
    for hour in range(HOURS):
        for n in range(30):
            at = (BEGIN + hour * HOUR + n * timedelta(minutes=2)).isoformat()
            into, out = 500 + 37 * (n % 7), 100 + 11 * (n % 5)
            if spike and hour >= SPIKE:
                out *= 8
            cost = into * 1e-6 + out * 4e-6
            event = f"{name}-{hour}-{n}"
            events.append(
                (event, at, f"u{n % 9}", "digest", "m", "user_request", into, out, cost, True)
            )
            if n % 5 == 0:
                tools.append((f"t-{event}", event, at, f"u{n % 9}", "digest", "search", 1, True))
    case = folder / name
    case.mkdir(parents=True)
    packed(case / "inference_events.csv.gz", EVENTS, events)
    packed(case / "tool_calls.csv.gz", TOOLS, tools)


def test_a_spike_and_a_quiet_week(tmp_path: Path, db: None) -> None:
    make_case(tmp_path, "c1", spike=True)
    make_case(tmp_path, "c2", spike=False)
    out = StringIO()
    call_command("triage_cases", tmp_path, "--jobs", "2", stdout=out)
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["case_id"], first["spike"]) == ("c1", True)
    assert (first["cause"], first["feature"]) == ("output_growth", "digest")
    assert first["ranked_causes"][0] == "output_growth"
    detected = datetime.fromisoformat(first["detected_at"])
    assert BEGIN + (SPIKE + 2) * HOUR <= detected <= BEGIN + (SPIKE + 4) * HOUR
    assert second == {
        "case_id": "c2", "spike": False, "cause": "none", "feature": None, "tool": None,
        "detected_at": None, "ranked_causes": [],
    }  # fmt: skip


def test_a_folder_without_a_case(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no case"):
        call_command("triage_cases", tmp_path)
