"""The event history as a file: CSV for people, JSON Lines for programs."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from django.db import transaction

from opslog import events
from opslog.events import csv_cells
from opslog.events.filters import Filters
from opslog.events.search import everything
from opslog.models import OperationsEvent

COLUMNS = (
    "id",
    "created_at",
    "kind",
    "message",
    "owner_type",
    "owner_id",
    "owner_label",
    "actor",
    "request_id",
    "db_user",
    "xact",
    "meta",
)


def as_csv(event: OperationsEvent) -> str:
    values = [
        moment(event.created_at)
        if name == "created_at"
        else json.dumps(event.meta, ensure_ascii=False, sort_keys=True)
        if name == "meta"
        else getattr(event, name)
        for name in COLUMNS
    ]
    return csv_cells.line(values)


def as_json(event: OperationsEvent) -> str:
    """Exactly what is in the log: programs read it, no spreadsheet does. In ASCII, so that no
    character of a message ends the line for a reader that knows more line ends than one."""
    fields = {name: getattr(event, name) for name in COLUMNS}
    fields["created_at"] = moment(event.created_at)
    return json.dumps(fields, ensure_ascii=True) + "\n"


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


# extension → (content type, first line, one event)
FORMATS: dict[str, tuple[str, str, Callable[[OperationsEvent], str]]] = {
    "csv": ("text/csv; charset=utf-8", csv_cells.line(COLUMNS), as_csv),
    "jsonl": ("application/x-ndjson", "", as_json),
}


class Busy(Exception):
    """Another export is under way in this process."""


_one_at_a_time = threading.Lock()


class Export:
    """The lines of a file, and its event.

    One at a time in each web process: an export has a thread for as long as somebody downloads,
    and the threads are those that admissions are answered by. Raises Busy. Close it in any case.
    """

    def __init__(self, filters: Filters, form: str, *, query: str, by: str, now: datetime) -> None:
        if not _one_at_a_time.acquire(blocking=False):
            raise Busy
        self._held = True
        try:
            self.content_type, self.head, self.tell = FORMATS[form]
            with transaction.atomic():
                events.record(
                    "OPS_LOG_EXPORT",
                    message=f"Event history exported as {form}: {query or 'all of it'}"[:500],
                    owner=("event_history", form),
                    actor=by,
                    meta={"filters": query, "format": form, "until": moment(now)},
                )
            self.lines = self._lines(filters, now)
        except BaseException:
            self.close()
            raise

    def _lines(self, filters: Filters, now: datetime) -> Iterator[str]:
        if self.head:
            yield self.head
        for batch in everything(filters, now=now):
            yield "".join(self.tell(event) for event in batch)

    def __iter__(self) -> Iterator[str]:
        return self.lines

    def close(self) -> None:
        if self._held:
            self._held = False
            _one_at_a_time.release()
