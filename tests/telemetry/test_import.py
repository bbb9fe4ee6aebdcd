"""manage.py import_events: CSV and JSON lines, plain and gzipped, with bad rows in them."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from opslog.models import InferenceEvent, InferenceHour, StaleHour, ToolCall
from tests.telemetry.recomputed import differences

pytestmark = pytest.mark.usefixtures("db")
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=800)
HEADER = (
    "event_id,created_at,user_id,feature,model,trigger_type,input_tokens,output_tokens,cost_usd,"
    "success\n"
)


def line(event_id: Any, **kw: Any) -> str:
    data = {
        "created_at": LONG_AGO.isoformat(),
        "user_id": "u",
        "feature": "chat",
        "model": "m",
        "trigger_type": "undo",
        "input_tokens": 9,
        "output_tokens": 3,
        "cost_usd": "0.01",
        "success": "1",
        **kw,
    }
    return ",".join([str(event_id), *map(str, data.values())]) + "\n"


def run(path: Path, *args: str) -> int:
    """The exit code."""
    try:
        call_command("import_events", str(path), *args)
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_good_files(
    tmp_path: Path, kind: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"events.{kind}{suffix}"
    rows = [line(n, created_at=(LONG_AGO + timedelta(days=9 * n)).isoformat()) for n in range(3)]
    if kind == "csv":
        text = "\ufeff" + HEADER + "".join(rows)
    else:
        names = HEADER.strip().split(",")
        text = "\n".join(
            json.dumps(dict(zip(names, row.strip().split(","), strict=True))) for row in rows
        )
    path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    assert run(path) == 0
    assert "3 imported, 0 there already, 0 refused" in capsys.readouterr().out
    row = InferenceEvent.objects.get(event_id="0")
    assert (row.created_at, row.source, row.trigger_type) == (LONG_AGO, "import", "undo")
    assert (row.cost_usd, row.success, row.input_tokens) == (Decimal("0.01"), True, 9)
    assert InferenceHour.objects.count() == 3
    assert differences() == []
    assert not StaleHour.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM inference_events_default")
        assert cursor.fetchone()[0] == 0  # each in a week that was made for it
    assert run(path) == 0
    assert "0 imported, 3 there already" in capsys.readouterr().out


def test_bad_rows_are_told_of_by_line_and_the_others_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.csv"
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    text = HEADER + "".join(
        [
            line(1),
            line(2, input_tokens=-1),  # 3
            line(3),
            "only,three,columns\n",  # 5
            line(4, created_at="yesterday"),  # 6
            line(5, created_at=""),  # 7
            line(6, model=""),  # 8
            line(7, cost_usd="NaN"),  # 9
            line(8, success="perhaps"),  # 10
            line(9, created_at=future),  # 11
            line(10, created_at="1999-01-01"),  # 12
            line(11),
            line(12, feature='"a\nb"'),  # 14, which ends in 15
            line(13),
        ]
    )
    path.write_bytes(text.encode() + line(14, feature="\xff").encode("latin-1"))  # 17
    assert run(path) == 1
    captured = capsys.readouterr()
    assert "4 imported, 0 there already, 11 refused" in captured.out
    results = [each for each in captured.err.splitlines() if each.startswith("line ")]
    lines = [int(each.split()[1].rstrip(":")) for each in results]
    assert lines == [3, 5, 6, 7, 8, 9, 10, 11, 12, 15, 17]
    assert set(InferenceEvent.objects.values_list("event_id", flat=True)) == {"1", "3", "11", "13"}


def test_bad_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.jsonl"
    good = {"eventId": "a", "createdAt": LONG_AGO.isoformat(), "model": "m", "inputTokens": 3}
    lines = [good, {**good, "eventId": "b", "typo": 1}, [1], {**good, "eventId": "c"}]
    path.write_text("\n".join(["", *map(json.dumps, lines), "{broken", "", "[" * 9999]))
    assert run(path) == 1
    assert "2 imported, 0 there already, 4 refused" in capsys.readouterr().out
    assert InferenceEvent.objects.count() == 2


def test_tool_calls_as_cases_number_them(tmp_path: Path) -> None:
    path = tmp_path / "tools.csv"
    path.write_text(
        "tool_call_id,event_id,created_at,user_id,feature,tool_name,attempt,success\n"
        f"1,7,{LONG_AGO.isoformat()},u,chat,search,1,0\n"
        f"2,7,{LONG_AGO.isoformat()},u,chat,search,2,1\n"
    )
    assert run(path, "--tools") == 0
    rows = ToolCall.objects.order_by("event_id").values_list(
        "event_id", "inference_event_id", "retries", "success"
    )
    assert list(rows) == [("1", "7", 0, False), ("2", "7", 1, True)]


def test_tool_calls_as_the_table_has_them(tmp_path: Path) -> None:
    path = tmp_path / "tools.csv"
    path.write_text(
        "id,event_id,created_at,received_at,tool_name,success,retries,duration_ms\n"
        f"5,x,{LONG_AGO.isoformat()},{LONG_AGO.isoformat()},search,f,3,250\n"
    )
    assert run(path, "--tools") == 0
    row = ToolCall.objects.get()
    assert (row.event_id, row.retries, row.duration_ms, row.success) == ("x", 3, 250, False)


def test_rows_without_ids_are_the_same_when_imported_again(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    row = f"{LONG_AGO.isoformat()},m,5\n"
    path.write_text("created_at,model,input_tokens\n" + row * 2)
    assert run(path) == 0
    assert run(path) == 0
    assert InferenceEvent.objects.count() == 2


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("events.csv", b"", "empty"),
        ("events.csv", b"event_id,modell\n", "unknown columns: modell"),
        ("events.txt", b"x", "expected .csv or .jsonl"),
        ("events.csv.gz", b"no gzip", "broken gzip"),
        ("events.csv.gz", gzip.compress(HEADER.encode() * 9999, mtime=0)[:-20], "broken gzip"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CommandError, match=why):
        run(path)


def test_what_was_read_of_a_file_that_breaks_off_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.csv.gz"
    text = HEADER + "".join(line(number, user_id=f"u{number * 7919}") for number in range(3000))
    whole = gzip.compress(text.encode(), mtime=0)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CommandError, match="broken gzip, nothing after line") as caught:
        run(path)
    last = int(str(caught.value).split("line ")[1].split()[0])
    imported = last - 1  # the first line names the columns
    assert imported % 1000  # a batch was not full
    assert InferenceEvent.objects.count() == imported
    assert f"{imported} imported, 0 there already, 0 refused" in capsys.readouterr().out
    assert not StaleHour.objects.exists()
    assert differences() == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        run(tmp_path / "nothing.csv")
