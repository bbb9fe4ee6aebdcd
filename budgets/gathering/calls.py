"""The statements that decide: what is sent for one ask or for many, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from django.conf import settings
from psycopg import pq
from psycopg.abc import Transformer
from psycopg.adapt import PyFormat
from psycopg.types.json import Jsonb

from budgets import admission
from budgets.admission import Decision, batches
from budgets.admission.batches import Ask

Answered = list[tuple[int, Decision, bool]]  # place, decision, whether it wrote an alert


@dataclass(frozen=True, slots=True)
class Statement:
    name: bytes
    sql: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A statement and its parameters, in libpq's text format."""

    statement: Statement
    values: Sequence[Any]


def of_one(ask: Ask, dump: Transformer) -> Call:
    """The call of the ask's own routine. Raises psycopg.DataError for what cannot be sent."""
    fields = ask.fields
    if ask.operation == "start":
        fields = fields | admission.start_settings()
    values = [Jsonb(each) if isinstance(each, dict) else each for each in fields.values()]
    text = dump.dump_sequence(values, [PyFormat.TEXT] * len(values))
    return Call(single(ask.operation, len(values), procedure=procedures()), text)


def of_batch(asks: Sequence[Ask], dump: Transformer) -> Call:
    """One call for all. Raises UnicodeError for what cannot be sent."""
    shared = list(admission.start_settings().values())
    text = dump.dump_sequence(shared, [PyFormat.TEXT] * len(shared))
    return Call(batch(1 + len(shared), procedure=procedures()), [batches.encode(asks), *text])


def procedures() -> bool:
    return bool(settings.TOLLGATE_EARLY_LOCK_RELEASE)


@cache
def single(operation: str, parameters: int, *, procedure: bool) -> Statement:
    sql = admission.statement(operation, parameters, procedure=procedure)
    return Statement(f"tollgate_{operation}".encode(), numbered(sql))


@cache
def batch(parameters: int, *, procedure: bool) -> Statement:
    places = ", ".join(["%s"] * parameters)
    sql = (
        f"CALL tollgate.decide_v1({places}, NULL)"
        if procedure
        else f"SELECT answers FROM tollgate.decide_run_v1({places})"  # noqa: S608  (no user text)
    )
    return Statement(b"tollgate_batch", numbered(sql))


def numbered(sql: str) -> bytes:
    """With libpq's places, `$1` and so on, in place of `%s`. The server infers their types from the
    routine, so a statement is prepared once for all calls."""
    first, *rest = sql.split("%s")
    return "".join([first, *(f"${n}{part}" for n, part in enumerate(rest, 1))]).encode()


def answer_of_one(result: pq.abc.PGresult, load: Transformer) -> Answered:
    load.set_pgresult(result)
    row = load.load_row(0, tuple)
    if row is None:
        raise psycopg.InterfaceError("the database gave no answer")
    return [(0, *admission.decision_of(row))]


def answers_of_batch(result: pq.abc.PGresult) -> Answered:
    return [
        (answer.n, answer.decision(), answer.alerted)
        for answer in batches.decode(result.get_value(0, 0) or b"[]")
    ]
