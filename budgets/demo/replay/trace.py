"""Reading a recorded trace: gzipped or plain CSV, one real request a row."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

COLUMNS = ("created_at", "model", "client_id", "input_tokens", "output_tokens")
MOST_TOKENS = 10_000_000


class TraceError(Exception):
    """The trace cannot be used; the message is one line with the file and the line number."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """`client_id` is None where the publisher withheld it (-1 in the file)."""

    line: int
    created_at: datetime
    model: str
    client_id: int | None
    input_tokens: int
    output_tokens: int


def read_trace(path: Path, *, limit: int | None = None) -> Iterator[TraceRequest]:
    """The requests in the order of the file, which is the order of time.

    Raises TraceError for a file that is missing, unreadable, cut off, empty or not such a trace,
    and for the first row that is not one, by its line.
    """
    found = 0
    try:
        with _opened(path) as file:
            rows = csv.reader(file, strict=True)
            places = _places(path, next(rows, None))
            last: TraceRequest | None = None
            for row in rows:
                if not any(row):
                    continue  # a blank line, as editors leave one at the end
                if limit is not None and found >= limit:
                    return
                request = _request(path, rows.line_num, row, places)
                if last is not None and request.created_at < last.created_at:
                    raise TraceError(f"{path}:{rows.line_num}: is older than the row before it")
                last = request
                found += 1
                yield request
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TraceError(f"{path}: cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: is not UTF-8 text") from error
    except csv.Error as error:
        raise TraceError(f"{path}:{rows.line_num}: is not CSV: {error}") from error
    if not found:
        raise TraceError(f"{path}: has no requests")


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _places(path: Path, header: list[str] | None) -> list[int]:
    if header is None:
        raise TraceError(f"{path}: is empty")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise TraceError(f"{path}:1: no column {', '.join(missing)}")
    return [header.index(name) for name in COLUMNS]


def _request(path: Path, line: int, row: list[str], places: list[int]) -> TraceRequest:
    try:
        created_at, model, client, given, made = (row[place] for place in places)
    except IndexError:
        raise TraceError(f"{path}:{line}: {len(row)} fields are too few") from None
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        raise TraceError(f"{path}:{line}: created_at {created_at[:40]!r} is no time") from None
    if not model.strip():
        raise TraceError(f"{path}:{line}: model is empty")
    client_id = _number(path, line, "client_id", client, least=-1)
    return TraceRequest(
        line=line,
        created_at=moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        model=model,
        client_id=None if client_id < 0 else client_id,
        input_tokens=_number(path, line, "input_tokens", given),
        output_tokens=_number(path, line, "output_tokens", made),
    )


def _number(path: Path, line: int, name: str, text: str, *, least: int = 0) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= MOST_TOKENS:
        raise TraceError(f"{path}:{line}: {name} {text[:40]!r} is no number of that kind")
    return number
