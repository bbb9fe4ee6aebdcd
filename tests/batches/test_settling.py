"""Finishes and direct spend of a batch come to what they come to one by one.

Random ones are decided twice from the same rows, at a clock that stands still: one by one, and,
when that was rolled back, in batches of random size. Answers and all rows must agree.
`BATCH_SEEDS="7 8"` tries other seeds than those of every run.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connections, transaction
from psycopg.types.json import Jsonb

from budgets import admission, tasks
from budgets.admission import Caller, Fields, FinishTold, batches, counters
from budgets.admission.batches import Answer, Ask
from budgets.admission.direct_spend import Attribution, SpendTold, spend_fields
from budgets.controls import breaker, features
from budgets.models import CircuitBreaker, CostRule
from opslog.pricing.usage import Usage
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.admission.ledger_model import NOON
from tests.factories import (
    lift_limits,
    make_price,
    make_token,
    make_work_order,
    set_limit,
)
from workorders import tokens

SEEDS = os.environ.get("BATCH_SEEDS", "1 2 3").split()
ROUNDS, ASKS = 10, 36
WORK_ORDERS = ("w1", "w2", "w3", "w4")
UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NANO = Decimal("1e-9")

# All that a finish or a call writes. What is charged is named by the keys of its counters, because
# one that is made twice has two numbers.
KEYS = (
    "(SELECT string_agg(k.key, ' ' ORDER BY k.key) FROM counters k WHERE k.id = ANY (charged_to))"
)
ROWS = {
    "counters": "SELECT key, runs, open_runs, reserved_usd, settled_usd, reserved_tokens,"
    " settled_tokens FROM counters ORDER BY key",
    "runs": "SELECT id, status, cost, cost_note, usage, tokens, finished_at, reserved_usd,"
    f" encode(finish_fingerprint, 'hex'), {KEYS} FROM work_order_runs ORDER BY id",
    "charges": f"SELECT run_id, kind, at, reserved_usd, settled_usd, {KEYS} FROM run_charges"
    " ORDER BY run_id, run_charges.id",
    "statistics": "SELECT * FROM cost_statistics ORDER BY wo_id",
    "alerts": "SELECT kind, key, message, owner_type, owner_id, actor, meta, created_at FROM alerts"
    " ORDER BY id",
    "events": "SELECT kind, message, owner_type, owner_id, owner_label, actor, meta, request_id"
    " FROM operations_events ORDER BY id",
    "telemetry": "SELECT (to_jsonb(e) - '{id,received_at}'::text[])::text FROM inference_events e",
    "stale hours": "SELECT DISTINCT hour FROM stale_hours ORDER BY hour",
    "spend": "SELECT at, cost_usd, tokens, model, usage, user_id, surface, feature, agent_name,"
    " source_ip, token_id, sent_as FROM direct_spend ORDER BY at, cost_usd, user_id, agent_name,"
    " model, surface, feature, token_id, tokens",
    "breakers": "SELECT scope, subject, state, reason, changed_at, half_open_at, probe_run_id"
    " FROM circuit_breakers ORDER BY scope, subject",
    "features": "SELECT feature, enabled, reason, changed_at FROM feature_flags ORDER BY feature",
    "keys": "SELECT token_id, endpoint, key, encode(fingerprint, 'hex'), answer, created_at"
    " FROM idempotency_records ORDER BY token_id, endpoint, key",
    "token uses": "SELECT token_id, last_used_at IS NULL, last_address FROM token_uses ORDER BY 1",
}


@pytest.fixture
def committed(committed_db: str) -> Iterator[None]:
    install_clock()
    yield
    for each in connections.all():
        each.close()


def rows(sql: str, params: Any = None) -> list[tuple[Any, ...]]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


Outcome = tuple[Any, ...]


def outcome(answer: Answer) -> Outcome:
    """All of an answer but its place. The id of a call is new each time."""
    body = bytes(answer.body).decode()
    return (
        *(answer.status, answer.denial, answer.error, answer.retry_after, answer.reset_at),
        *(answer.replayed, answer.reserved_usd, answer.settled_usd, answer.alerted),
        UUID_TEXT.sub("…", body) if "spendId" in body else body,
    )


def alone(ask: Ask) -> Outcome:
    """By its own routine."""
    fields = [Jsonb(v) if isinstance(v, dict) else v for v in ask.fields.values()]
    places = ", ".join(["%s"] * len(fields))
    call = f"SELECT tollgate.answer_json(0, a) FROM tollgate.{ask.operation}_run_v1({places}) a"
    try:
        with transaction.atomic(using="owner"):
            [(answer,)] = rows(call, fields)
    except DatabaseError as error:
        return (type(error).__name__,)
    return outcome(batches.decode(f"[{answer}]")[0])


def together(asks: list[Ask]) -> list[Outcome]:
    """In one call; those that it hands back are asked alone, as the sender would."""
    call = "SELECT answers FROM tollgate.decide_run_v1(%s, %s, %s, %s, %s)"
    params = [batches.encode(asks).decode(), *admission.start_settings().values()]
    [(answers,)] = rows(call, params)
    found = sorted(batches.decode(answers), key=lambda answer: answer.n)
    assert [each.n for each in found] == list(range(len(asks)))
    return [
        alone(ask) if each.denial == "alone" else outcome(each)
        for ask, each in zip(asks, found, strict=True)
    ]


def written() -> dict[str, list[str]]:
    """Every row that may have changed, without the ids of calls."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    runs = {str(run) for (run,) in rows("SELECT id FROM work_order_runs")}

    def known(found: re.Match[str]) -> str:
        return found[0] if found[0] in runs else "…"

    there = {name: [UUID_TEXT.sub(known, str(r)) for r in rows(sql)] for name, sql in ROWS.items()}
    # (In the order of the ids, which are new.)
    return {**there, "telemetry": sorted(there["telemetry"])}


class Scene:
    """Work orders, tokens, limits and runs at random, and what is reported about them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = NOON
        self.turn_clock(timedelta())
        lift_limits()
        set_limit("global", "day", "usd", "60.00", warning_amount="4.00", alert_percents=[20, 40])
        set_limit("global", "rolling_minute", "usd", self.chance.choice(["3.00", "5.00"]))
        set_limit("user", "hour", "usd", "9.00", alert_percents=[10, 20, 50])
        set_limit("model", "day", "tokens", "900000", warning_amount="20000")
        set_limit("surface", "minute", "requests", "1000", alert_percents=[1])
        features.change("digest", {"cost_cap_usd": Decimal("0.80")}, reason="test", by="test")
        CostRule.objects.update(alert_over_usd="0.50")
        CircuitBreaker.objects.filter(subject="*").update(recent_runs=6, error_percent=50)
        for name in WORK_ORDERS:
            make_work_order(
                name, runs_per_day=10_000, usd_per_day="900.00", max_concurrent_runs=500
            )
        make_price("priced")
        first, text = make_token(name="first")
        self.desk = Desk(text)
        # (Both live for longer than the clock is turned back or forth.)
        successor = tokens.rotate(first.pk, overlap=timedelta(days=999), by="test", reason="test")
        successor[0].max_run_usd = Decimal("0.03")
        successor[0].save(update_fields=["max_run_usd"])
        self.texts = {
            "own": text,
            "successor": successor[1],
            "stranger": make_token(name="stranger")[1],
            "admin": make_token(["admin"], name="admin")[1],
            "one order": make_token(["start", "admin"], name="one", work_orders=["w1"])[1],
            "reader": make_token(["read"], name="reader")[1],
            "unknown": "tg_nobody",
            "pinned": make_token(name="pinned", surface="cli", feature="digest")[1],
        }
        self.runs = [(uuid4(), Decimal(0))]
        self.fresh: list[tuple[UUID, Decimal]] = []

    def turn_clock(self, by: timedelta) -> None:
        self.now += by
        set_clock(self.now)
        rows("SELECT set_config('test.now', %s, false)", [self.now.isoformat()])

    def caller(self, name: str = "") -> Caller:
        name = name or self.chance.choices(list(self.texts), [30, 8, 1, 3, 2, 1, 1, 4])[0]
        return Caller(tokens.digest(self.texts[name]), self.chance.choice(["127.0.0.1", "::1", ""]))

    def mills(self, most: int) -> Decimal:
        return Decimal(self.chance.randrange(most)) / 1000

    def prepare(self) -> None:
        """Runs, some of them extended, expired, ended or corrected; at times a breaker to probe."""
        chance = self.chance
        self.turn_clock(timedelta(seconds=chance.choice([10, 70, 3_700])))
        for row in CircuitBreaker.objects.exclude(state="closed"):
            breaker.reset(row.scope, row.subject, reason="test", by="test")
        if chance.random() < 0.7:
            features.change("digest", {"enabled": True}, reason="test", by="test")
        self.start_some(24)
        if chance.random() < 0.6:
            scope = chance.choice([("work_order", "w2"), ("global", "")])
            breaker.trip(*scope, reason="test", by="test")
            self.turn_clock(timedelta(seconds=301))
            self.start_some(2, "w2")  # the first is the probe; after its time the other is one
            self.turn_clock(timedelta(seconds=61))
            self.start_some(1, "w2")
        self.turn_clock(timedelta(seconds=chance.choice([1, 30])))
        if chance.random() < 0.7:
            tasks.expire_leases()
        if chance.random() < 0.5:
            rows(
                "UPDATE work_order_runs SET cost_note = 'corrected' WHERE id = %s"
                " AND status = 'success' RETURNING 1",
                [chance.choice(self.runs)[0]],
            )

    def start_some(self, number: int, wo: str = "") -> None:
        chance = self.chance
        for _ in range(number):
            decision = self.desk.start(
                wo or chance.choice(WORK_ORDERS),
                usd=self.mills(100) if chance.random() < 0.9 else None,
                lease_seconds=chance.choice([20, 86_400, 86_400, 86_400]),
                user_id=chance.choice(["", "u1", "u2"]),
                feature=chance.choice(["", "digest", "search"]),
                surface=chance.choice(["", "cli"]),
                model=chance.choice(["", "priced"]),
                estimated_input_tokens=chance.choice([None, 500]),
                confirm=True,
            )
            if decision.status != 201:
                continue
            self.fresh.append((UUID(run_of(decision)), Decimal(body(decision)["reservedUsd"])))
            if chance.random() < 0.15:
                self.desk.extend(run_of(decision), self.mills(100))

    def asks(self) -> list[Ask]:
        """Finishes and spend, of the runs of before too."""
        asks: list[Ask] = []
        while len(asks) < ASKS:
            if asks and self.chance.random() < 0.12:
                asks.append(self.again(self.chance.choice(asks)))
            elif self.chance.random() < 0.7:
                asks.append(self.finish(*self.run()))
            else:
                asks.append(self.spend())
        for number, ask in enumerate(asks):
            ask.fields["request_id"] = f"r{number}"
        return asks

    def run(self) -> tuple[UUID, Decimal]:
        """One that nobody has reported, as long as there is one; at times any."""
        if self.fresh and self.chance.random() < 0.85:
            which = -1 if self.chance.random() < 0.3 else self.chance.randrange(len(self.fresh))
            self.runs.append(self.fresh.pop(which))
            return self.runs[-1]
        return self.chance.choice(self.runs)

    def again(self, ask: Ask) -> Ask:
        """The same, or the same with another fingerprint."""
        other = {} if self.chance.random() < 0.6 else {"fingerprint": b"other"}
        return Ask(ask.operation, {**ask.fields, **other})

    def usage(self) -> dict[str, Any]:
        model = self.chance.choices(["priced", "unpriced"], [4, 1])[0]
        tokens_in = self.chance.randrange(20_000)
        return {"model": model, "usage": Usage(tokens_in, self.chance.randrange(4_000))}

    def finish(self, run: UUID, reserved: Decimal) -> Ask:
        chance = self.chance
        status = chance.choices(["success", "error", "cancelled"], [6, 3, 1])[0]
        cost = chance.choices(
            [reserved, reserved / 2, Decimal(0), reserved + self.mills(200), Decimal(150)],
            [6, 12, 3, 3, 1],
        )[0]
        how = self.usage() if chance.random() < 0.3 else {"cost_usd": cost.quantize(NANO)}
        fields = admission.finish_fields(run, FinishTold(status, **how), caller=self.caller())
        return Ask("finish", self.spoiled(fields))

    def spend(self) -> Ask:
        chance = self.chance
        who = Attribution(
            user_id=chance.choice(["", "u1", "u2", "u3"]),
            surface=chance.choice(["", "cli", "web"]),
            feature=chance.choice(["", "digest", "search"]),
            agent_name=chance.choice(["", "agent-1"]),
        )
        most = chance.choices([100, 3_000, 200_000], [12, 2, 1])[0]
        how = self.usage() if chance.random() < 0.4 else {"cost_usd": self.mills(most)}
        key = chance.choice(["", "", f"k{chance.randrange(40)}"])
        spend = SpendTold(who, **how)
        fields = spend_fields(spend, caller=self.caller(), idempotency_key=key)
        return Ask("spend", self.spoiled(fields))

    def spoiled(self, fields: Fields) -> Fields:
        """At times with what the database refuses, or with prices of another book."""
        if self.chance.random() < 0.02:
            return {**fields, "tokens": -1, "cost": Decimal("0.01")}
        if self.chance.random() < 0.03 and fields["book_version"] is not None:
            return {**fields, "book_version": 0}
        return fields


def in_batches(asks: list[Ask], chance: random.Random) -> list[list[Ask]]:
    """Of random size; in each the order in which they are decided."""
    left, parts = list(asks), []
    while left:
        size = chance.choice([1, 2, 5, 16, 32])
        part, left = left[:size], left[size:]
        parts.append(sorted(part, key=lambda ask: ask.operation))
    return parts


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_comes_to_what_its_asks_come_to(seed: str, committed: None) -> None:
    scene = Scene(int(seed))
    seen: Counter[Any] = Counter()
    for round_ in range(ROUNDS):
        scene.prepare()
        parts = in_batches(scene.asks(), scene.chance)
        with transaction.atomic(using="owner"):
            before = transaction.savepoint(using="owner")
            singly = [alone(ask) for part in parts for ask in part]
            singly_written = written()
            transaction.savepoint_rollback(before, using="owner")
            batched = [each for part in parts for each in together(part)]
            batched_written = written()
        for one, other, ask in zip(singly, batched, chain(*parts), strict=True):
            assert other == one, (seed, round_, ask)
        for name, those in singly_written.items():
            assert batched_written[name] == those, (seed, round_, name)
        seen.update(each[:2] for each in singly)
    alerts = Counter(kind for (kind,) in rows("SELECT kind FROM alerts"))
    print(f"seed {seed}: {dict(seen)}; {dict(alerts)}")
    assert not list(counters.differences())
    # What the seeds are for has happened.
    assert {(200, ""), (409, "run_ended"), (404, "unknown_run"), (401, "token")} <= seen.keys()
    assert {"budget_threshold", "breaker_opened", "cost_unpriced"} <= alerts.keys()
