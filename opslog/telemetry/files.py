"""Files of model calls and tool calls, CSV or JSON lines, maybe gzipped: read row by row.

The columns have the names of the tables, or those of the API. Files that number the tool calls
themselves (`tool_call_id`, `attempt`) mean the model call by `event_id`.
"""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Generic

import msgspec

from opslog.telemetry.drafts import D, InferenceDraft

# Of the tables, and of no meaning in another database.
IGNORED: Final = frozenset({"id", "received_at", "source", "computed_cost_usd"})
# Of the table: an object with the names of the API.
TOGETHER: Final = "units"
OTHER_NAMES: Final = {"wo_id": "work_order_id"}
YES_OR_NO: Final = {
    **dict.fromkeys(("1", "t", "true", "yes"), True),
    **dict.fromkeys(("0", "f", "false", "no"), False),
}


class Unreadable(ValueError):
    """The file as a whole cannot be read, or no further; the message says why."""


@dataclass(frozen=True, slots=True)
class Row(Generic[D]):
    """The draft of a line, or what is wrong with it."""

    line: int
    draft: D | None
    problem: str = ""


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[str], IO[bytes]]]:
    """The text of a file, and the file itself, whose position tells how far one is."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    with raw:
        plain: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        # What is no UTF-8 becomes a character that a draft refuses, in its line.
        yield io.TextIOWrapper(plain, "utf-8-sig", errors="surrogateescape", newline=""), raw


def read(path: Path, text: IO[str], kind: type[D]) -> Iterator[Row[D]]:
    """The rows of a file, the bad ones too. Raises Unreadable."""
    known = _columns(kind)
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        rows = _csv_rows(text, known)
    elif name.endswith((".jsonl", ".ndjson")):
        rows = _json_rows(text)
    else:
        raise Unreadable(f"{path.name}: expected .csv or .jsonl, or one of them with .gz")
    line = 0
    try:
        for line, values in rows:
            if isinstance(values, str):
                yield Row(line, None, values)
                continue
            try:
                yield Row(line, _draft(kind, values, known, line))
            except ValueError as error:
                yield Row(line, None, _plain(error))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise Unreadable(f"{path.name}: broken gzip, nothing after line {line} was read") from None


def _columns(kind: type[D]) -> dict[str, str]:
    """Every name that a column may have → the name in the API."""
    fields = msgspec.structs.fields(kind)
    names = {each.name: each.encode_name for each in fields}
    names |= {each.encode_name: each.encode_name for each in fields}
    return names | {other: names[name] for other, name in OTHER_NAMES.items()}


def _is_foreign(names: Any) -> bool:
    return "tool_call_id" in names


def _check_columns(names: Any, known: Mapping[str, str]) -> str:
    extra = {"tool_call_id", "attempt"} if _is_foreign(names) and "toolName" in known else set()
    if "toolCalls" in known:
        extra = {TOGETHER}
    unknown = sorted(set(names) - known.keys() - IGNORED - extra)
    return f"unknown columns: {', '.join(map(str, unknown[:10]))}" if unknown else ""


def _csv_rows(
    text: IO[str], known: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.DictReader(text)
    if not reader.fieldnames:
        raise Unreadable("the file is empty: its first line names the columns")
    if problem := _check_columns(reader.fieldnames, known):
        raise Unreadable(problem)
    while True:
        try:
            row: dict[Any, Any] | None = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, str(error)
            continue
        if row is None:
            return
        if None in row or None in row.values():
            yield reader.line_num, f"expected {len(reader.fieldnames)} columns"
        else:
            yield reader.line_num, row


def _json_rows(text: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            yield number, decoder.decode(line.encode("utf-8", "surrogateescape"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield number, "not a JSON object in UTF-8"


def _draft(kind: type[D], row: dict[str, Any], known: Mapping[str, str], line: int) -> D:
    if problem := _check_columns(row, known):
        raise ValueError(problem)
    values = {name: value for name, value in row.items() if value not in ("", None)}
    if _is_foreign(row) and kind is not InferenceDraft:
        _translate(values)
    values |= _object(TOGETHER, values.pop(TOGETHER, {}))
    fields = {known[name]: value for name, value in values.items() if name in known}
    if "toolCalls" in fields:
        fields["toolCalls"] = _object("tool_calls", fields["toolCalls"])
    if "createdAt" not in fields:
        raise ValueError("created_at: it must be given")
    fields["createdAt"] = _moment(fields["createdAt"])
    if isinstance(success := fields.get("success"), str):
        fields["success"] = YES_OR_NO.get(success.lower(), success)
    if "eventId" in fields:
        fields["eventId"] = str(fields["eventId"])
    else:
        # The same for the same line of the same file, so that it may be imported again.
        content = repr((line, sorted(values.items()))).encode("utf-8", "backslashreplace")
        fields["eventId"] = f"import-{hashlib.sha256(content).hexdigest()[:32]}"
    return msgspec.convert(fields, kind, strict=False)


def _object(column: str, value: Any) -> dict[str, Any]:
    """A column of JSON is text in CSV."""
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{column}: expected a JSON object")  # noqa: TRY004  (a value, to a reader)
    return found


def _translate(values: dict[str, Any]) -> None:
    asked_by, own = values.pop("event_id", None), values.pop("tool_call_id", None)
    if asked_by is not None:
        values["inference_event_id"] = str(asked_by)
    if own is not None:
        values["event_id"] = str(own)
    if (attempt := values.pop("attempt", None)) is not None:
        if not str(attempt).isascii() or not str(attempt).isdigit() or int(attempt) < 1:
            raise ValueError("attempt: expected a whole number from 1")
        values["retries"] = int(attempt) - 1


def _moment(text: Any) -> datetime:
    """Without an offset it is UTC, as everything here."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"created_at: {str(text)[:40]!r} is no time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(error: ValueError) -> str:
    return str(error).replace("`", "").replace(" - at $.", ": ")
