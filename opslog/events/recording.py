"""Recording what happened, in the transaction in which it happens."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.utils import DEFAULT_DB_ALIAS
from psycopg.types.json import Jsonb

from opslog.database.query import value
from opslog.request_context import current_request_id

INSERT = """
INSERT INTO operations_events
    (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
"""


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Old and new of each value that differs, by its name: the `changes` of an event."""
    return {
        name: {"old": before.get(name), "new": value}
        for name, value in after.items()
        if before.get(name) != value
    }


def as_text(row: object, names: Iterable[str]) -> dict[str, str]:
    """These attributes of a row, as `changed` compares them where JSON has no such values."""
    return {name: str(getattr(row, name)) for name in names}


def record(
    kind: str,
    *,
    message: str,
    actor: str,
    owner: tuple[str, str] = ("", ""),
    label: str = "",
    meta: Mapping[str, Any] | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> int:
    """Append one event and return its id. `kind` is a registered code; `owner` is (type, id).

    It is written by the caller's transaction: the event and the change it records commit together
    or not at all. A failure to write it therefore undoes the change.
    """
    metadata = Jsonb(dict(meta or {}))
    params: list[Any] = [kind, message, *owner, label, actor, metadata, current_request_id()]
    return int(value(INSERT, params, using=using))
