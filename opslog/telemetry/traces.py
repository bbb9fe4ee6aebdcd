"""Writing what an export shows, with what earlier exports showed of the same traces.

Spans of one trace come in several exports, in any order: the sum of an agent comes after its calls
or, where they run on, before. So it is remembered how the spans of a trace are nested, and with
each export the calls of its traces are worked out anew: what turns out to be no call is taken back.

Spans of the same provider's response are one call, whatever trace they are in: two libraries that
both instrument a client make two spans of it. The one that says more is kept.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from django.db import connection, transaction
from django.db.utils import OperationalError
from psycopg.errors import LockNotAvailable

from opslog.exceptions import Unavailable
from opslog.models import InferenceEvent
from opslog.principal import Principal
from opslog.telemetry import structure
from opslog.telemetry.accepting import (
    LATE,
    MOST,
    SAME_EVENT,
    Outcome,
    Status,
    accept_inference,
    accept_tools,
)
from opslog.telemetry.drafts import UNPRINTABLE, InferenceDraft
from opslog.telemetry.otlp import Call, Spans, Unread, once
from opslog.telemetry.structure import Node

KEPT: Final = LATE  # how long a trace that nothing came of is remembered
MOST_UNREAD: Final = 500  # rows of a sender
MOST_NAME: Final = 200
DRAFT: Final = msgspec.json.Decoder(InferenceDraft)

ADD_TRACES: Final = """
INSERT INTO telemetry_traces (sender_id, trace_id)
SELECT %(sender)s, trace FROM unnest(%(new)s::text[]) trace ORDER BY trace
ON CONFLICT DO NOTHING
"""
READ_TRACES: Final = """
SELECT trace_id, nodes, held::text FROM telemetry_traces
WHERE sender_id = %(sender)s AND trace_id = ANY (%(all)s) ORDER BY trace_id FOR UPDATE
"""
WRITE_TRACE: Final = """
UPDATE telemetry_traces SET nodes = %s, held = %s::jsonb, changed_at = now()
WHERE sender_id = %s AND trace_id = %s
"""
TAKE_BACK: Final = "SELECT tollgate.take_back_inference_v1(%s, %s, %s)"
CLAIM: Final = """
INSERT INTO telemetry_responses AS r (sender_id, response_id, event_id, detail)
SELECT %(sender)s, response, event, detail
FROM unnest(%(responses)s::text[], %(events)s::text[], %(details)s::int[])
    AS claimed (response, event, detail) ORDER BY response
ON CONFLICT (sender_id, response_id) DO UPDATE SET seen_at = now()
RETURNING response_id, event_id, detail
"""
FORGET: Final = (
    "DELETE FROM telemetry_traces WHERE changed_at < %s",
    "DELETE FROM telemetry_responses WHERE seen_at < %s",
)
TELL_UNREAD: Final = """
INSERT INTO telemetry_unread AS u (sender_id, digest, scope, span_name, names, spans, lost)
SELECT %(sender)s, %(digest)s, %(scope)s, %(span)s, %(names)s, %(spans)s, %(lost)s
WHERE EXISTS (SELECT FROM telemetry_unread WHERE sender_id = %(sender)s AND digest = %(digest)s)
    OR (SELECT count(*) FROM telemetry_unread WHERE sender_id = %(sender)s) < %(most)s
ON CONFLICT (sender_id, digest) DO UPDATE
SET spans = u.spans + excluded.spans, lost = u.lost + excluded.lost, last_seen = now()
"""


def write(spans: Spans, *, principal: Principal) -> list[str]:
    """Write the calls of an export; returns why some were refused.

    Some traces a transaction: where a later one fails, the exporter sends all of them again, and
    those that are written are known by their ids. Raises DatabaseError and Unavailable.
    """
    outcomes: list[Outcome] = []
    for traces in _portions(spans):
        outcomes += _write_calls(spans, traces, principal)
    for start in range(0, len(spans.tools), MOST):
        outcomes += accept_tools(spans.tools[start : start + MOST], principal=principal)
    _tell_unread(spans.unread, principal.owner_id)
    return [
        f"span {outcome.event_id.partition(':')[2]}: {outcome.reason}"
        for outcome in outcomes
        if outcome.status is Status.REFUSED
    ]


def forget() -> int:
    """Drop what is remembered of old traces and responses; returns how many rows."""
    now, gone = datetime.now(UTC), 0
    with connection.cursor() as cursor:
        for statement, kept in zip(FORGET, (KEPT, SAME_EVENT), strict=True):
            cursor.execute(statement, [now - kept])
            gone += cursor.rowcount
    return gone


def _portions(spans: Spans) -> Iterable[list[bytes]]:
    """The traces of an export, so many together that their calls fit into a batch."""
    portion: list[bytes] = []
    size = 0
    for trace, nodes in spans.traces.items():
        calls = sum(node.call for node in nodes.values())
        if portion and size + calls > MOST:
            yield portion
            portion, size = [], 0
        portion.append(trace)
        size += calls
    if portion:
        yield portion


def _write_calls(spans: Spans, traces: Sequence[bytes], principal: Principal) -> list[Outcome]:
    try:
        with transaction.atomic():
            return _write_traces(spans, traces, principal)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise Unavailable("too many exports at once") from error
        raise


def _write_traces(spans: Spans, traces: Sequence[bytes], principal: Principal) -> list[Outcome]:
    sender = principal.owner_id
    to_write: list[Call] = []
    taken: list[str] = []
    remembered: list[tuple[bytes, str, int, str]] = []
    with connection.cursor() as cursor:
        for trace, before, held in _known(cursor, sender, spans, traces):
            nodes = {**before, **spans.traces[trace]}
            counted = structure.calls(nodes)
            taken += [_event_id(trace, span) for span in structure.calls(before) - counted]
            found = _candidates(spans, trace, held)
            to_write += [call for span, call in found.items() if span in counted]
            waiting = {
                span.hex(): msgspec.json.encode(call.draft).decode()
                for span, call in found.items()
                if not nodes[span].used and span not in counted
            }
            if lasting := structure.unsettled(nodes):
                packed = (structure.pack(lasting), msgspec.json.encode(waiting).decode())
                remembered.append((*packed, sender, trace.hex()))
        if remembered:
            cursor.executemany(WRITE_TRACE, remembered)
        if taken:
            _take_back(cursor, sender, taken)
        to_write = _claimed(cursor, sender, once(to_write, spans.candidates.values()))
    outcomes: list[Outcome] = []
    for start in range(0, len(to_write), MOST):
        drafts = [call.draft for call in to_write[start : start + MOST]]
        outcomes += accept_inference(drafts, source=InferenceEvent.Source.OTLP, principal=principal)
    return outcomes


def _known(
    cursor: Any, sender: int, spans: Spans, traces: Sequence[bytes]
) -> list[tuple[bytes, dict[bytes, Node], dict[str, str]]]:
    """The traces with what is remembered of them: locked, so that one export after another changes
    them. Of a trace that nothing can change any more nothing is remembered."""
    lasting = [trace for trace in traces if structure.unsettled(spans.traces[trace])]
    params = {
        "sender": sender,
        "new": [trace.hex() for trace in lasting],
        "all": [trace.hex() for trace in traces],
    }
    if lasting:
        cursor.execute(ADD_TRACES, params)
    cursor.execute(READ_TRACES, params)
    known = {
        trace: (structure.unpack(bytes(nodes)), msgspec.json.decode(held))
        for trace, nodes, held in cursor.fetchall()
    }
    return [(trace, *known.get(trace.hex(), ({}, {}))) for trace in traces]


def _candidates(spans: Spans, trace: bytes, held: Mapping[str, str]) -> dict[bytes, Call]:
    found = {bytes.fromhex(span): Call(DRAFT.decode(draft)) for span, draft in held.items()}
    for span in spans.traces[trace]:
        if call := spans.candidates.get((trace, span)):
            found[span] = call
    return found


def _claimed(cursor: Any, sender: int, calls: Iterable[Call]) -> list[Call]:
    """Those that are not another span's call already; of one that reported less, its event is taken
    back."""
    calls = list(calls)
    asking = {call.response_id: call for call in calls if call.response_id}
    if not asking:
        return calls
    params = {
        "sender": sender,
        "responses": list(asking),
        "events": [call.draft.event_id for call in asking.values()],
        "details": [call.detail for call in asking.values()],
    }
    cursor.execute(CLAIM, params)
    repeated = set()
    for response_id, event_id, detail in cursor.fetchall():
        call = asking[response_id]
        if event_id == call.draft.event_id:
            continue
        if call.detail <= detail:
            repeated.add(call.draft.event_id)
            continue
        _take_back(cursor, sender, [event_id])
        cursor.execute(
            CLAIM,
            {
                **params,
                "responses": [response_id],
                "events": [call.draft.event_id],
                "details": [call.detail],
            },
        )
    return [call for call in calls if call.draft.event_id not in repeated]


def _take_back(cursor: Any, sender: int, event_ids: Sequence[str]) -> None:
    cursor.execute(TAKE_BACK, [sender, list(event_ids), datetime.now(UTC) - SAME_EVENT])


def _event_id(trace: bytes, span: bytes) -> str:
    return f"{trace.hex()}:{span.hex()}"


def _tell_unread(unread: Iterable[Unread], sender: int) -> None:
    """Count them, by instrumentation and attributes."""
    kinds: dict[tuple[str, tuple[str, ...]], list[Unread]] = {}
    for each in unread:
        kinds.setdefault((each.scope, each.names), []).append(each)
    with connection.cursor() as cursor:
        for (scope, names), same in sorted(kinds.items()):
            shown = [clean(name) for name in names]
            params: dict[str, Any] = {
                "sender": sender,
                "digest": hashlib.sha256("\0".join((scope, *names)).encode()).hexdigest(),
                "scope": clean(scope),
                "span": clean(same[0].span_name),
                "names": shown,
                "spans": len(same),
                "lost": sum(each.lost for each in same),
                "most": MOST_UNREAD,
            }
            cursor.execute(TELL_UNREAD, params)


def clean(text: str) -> str:
    """A name as a program sent it, short and on one line."""
    return UNPRINTABLE.sub(" ", text)[:MOST_NAME]
