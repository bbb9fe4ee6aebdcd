"""The proof that one event is in a seal: to be checked without the database, and without us.

docs/check_proof.py is the program that checks it.
"""

from typing import Any

from django.db import connection, transaction

from opslog.models import Seal
from opslog.seal_format import encoding, merkle
from opslog.seal_format.statements import moment
from opslog.sealing.rows import EVENT_ROW, Row, all_rows, reading
from opslog.sealing.selectors import seal_of

FORMAT = "tollgate.proof.v1"
ROWS = f"SELECT {EVENT_ROW} FROM operations_events WHERE id = %s"  # noqa: S608


class NoProof(Exception):
    """There is no such event, no seal holds it, or it is not what was sealed."""


def export(event_id: int) -> dict[str, Any]:
    """The event as it is now, its place in its seal, and the seal. Raises NoProof."""
    with transaction.atomic():
        with reading(connection, ROWS, [event_id]) as reader:
            rows = list(all_rows(reader))
        if not rows:
            raise NoProof(f"There is no event {event_id}.")
        found = seal_of(event_id)
        if found is None:
            raise NoProof(f"Event {event_id} is in no seal yet.")
        seal = Seal.objects.select_related("members", "key").get(pk=found.number)
    leaves = merkle.split(bytes(seal.members.leaf_hashes))
    if merkle.root(leaves) != bytes(seal.root):
        raise NoProof(f"The list of seal {seal.number} was altered: see verify_events.")
    row, position = _place(rows, leaves, seal.number)
    return {
        "format": FORMAT,
        "event": {
            name: moment(value) if name == "created_at" else value
            for name, value in encoding.event_of(encoding.values_in(row.image)).items()
        },
        "position": position,
        "path": [each.hex() for each in merkle.path(leaves, position)],
        "seal": seal.statement().values(),
        "signature": bytes(seal.signature).hex(),
        "publicKey": bytes(seal.key.public_key).hex(),
    }


def _place(rows: list[Row], leaves: list[bytes], number: int) -> tuple[Row, int]:
    for row in rows:
        if row.leaf in leaves:
            return row, leaves.index(row.leaf)
    raise NoProof(f"Event {rows[0].id} is not what was sealed in no. {number}: see verify_events.")
