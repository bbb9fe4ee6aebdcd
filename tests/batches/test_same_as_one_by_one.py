"""A batch comes out as its asks would one by one, in order of arrival: the property that lets many
be decided by one call. Random worlds, random asks, two copies of one database at a held clock.

`BATCH_SEEDS=1000-1199 pytest tests/batches/test_same_as_one_by_one.py` tries others, or one (`7`).
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connections

from config.run.scratch import owner_sql, with_database
from tests.admission.desk import SETTABLE_CLOCK
from tests.batches.connections import BATCH, SINGLE
from tests.batches.worlds import BEGINS, STATE, World

ASKS = 160
FIRST, _, LAST = os.environ.get("BATCH_SEEDS", "1-10").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FINISH = """
SELECT (tollgate.finish_run_v1(%s::text::bytea, '10.0.0.1', %s, %s, %s::text::numeric, NULL, NULL,
    NULL, '', 'finish')).status
"""


@dataclass
class Copy:
    """One of the two databases. What is random in it, the ids of runs, is known by the ask."""

    name: str
    world: World
    app: psycopg.Connection[Any] = field(init=False)
    owner: psycopg.Connection[Any] = field(init=False)
    runs: dict[str, str] = field(default_factory=dict)  # id → which ask's
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app, self.owner = (
            psycopg.connect(
                with_database(url, self.name), autocommit=True, options="-c timezone=UTC"
            )
            for url in (settings.APP_URL, settings.OWNER_URL)
        )
        self.app.add_notice_handler(
            lambda result: self.warnings.append(str(result.message_primary))
        )

    def one(self, ask: dict[str, Any]) -> dict[str, Any]:
        try:
            row = self.app.execute(SINGLE, [*self.world.settings, json.dumps(ask)]).fetchone()
        except psycopg.Error as error:
            return {"n": ask["n"], "error": error.sqlstate}
        assert row is not None
        return self.known(json.loads(row[0]))

    def batch(self, asks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        row = self.app.execute(BATCH, [json.dumps(asks), *self.world.settings]).fetchone()
        assert row is not None
        answers = {answer["n"]: answer for answer in json.loads(row[0])}
        assert sorted(answers) == [ask["n"] for ask in asks]
        return [self.taken(ask, answers[ask["n"]]) for ask in asks]

    def taken(self, ask: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if answer["denial"] != "alone":
            return self.known(answer)
        if answer["error"]:  # its own failure: asked alone it fails too
            return {"n": ask["n"], "error": answer["error"]}
        return self.one(ask)

    def known(self, answer: dict[str, Any]) -> dict[str, Any]:
        body = answer["body"] or {}
        if "runId" in body:
            self.runs.setdefault(body["runId"], f"run of {answer['n']}")
        return {**answer, "body": json.loads(self.plain(json.dumps(answer["body"])))}

    def plain(self, text: str) -> str:
        return UUID.sub(lambda found: self.runs.get(found[0], found[0]), text)

    def set_clock(self, at: Any) -> None:
        for connection in (self.app, self.owner):
            connection.execute("SELECT set_config('test.now', %s, false)", [at.isoformat()])

    def count_singles(self) -> None:
        """A warning for each ask of a batch that no set has decided."""
        row = self.owner.execute(
            "SELECT pg_get_functiondef('tollgate.decide_alone'::regproc)"
        ).fetchone()
        assert row is not None
        call = "RETURN tollgate.start_run_v1("
        assert row[0].count(call) == 1
        self.owner.execute(row[0].replace(call, f"RAISE WARNING 'single'; {call}"))

    def do(self, kind: str, what: Any) -> Any:
        if kind == "sql":
            self.owner.execute("SET search_path = public")
            self.owner.execute(what)
            return None
        ids = list(self.runs)
        ended = []
        for share in what if ids else ():
            run = ids[int(share * len(ids))]
            values = [run, "error" if share * 10 % 1 < 0.3 else "success", str(round(share / 3, 3))]
            row = self.app.execute(FINISH, [self.digest(), *values]).fetchone()
            ended.append(row)
        return ended

    def digest(self) -> str:
        from workorders import tokens

        return "\\x" + tokens.digest(self.world.digests[0][0]).hex()

    def state(self, name: str) -> Counter[str]:
        return Counter(self.plain(str(row)) for row in self.owner.execute(STATE[name]).fetchall())


@contextmanager
def copies(world: World, database: str) -> Iterator[tuple[Copy, Copy]]:
    with psycopg.connect(with_database(settings.OWNER_URL, database), autocommit=True) as owner:
        owner.execute(SETTABLE_CLOCK)
        owner.execute("SELECT set_config('test.now', %s, false)", [BEGINS.isoformat()])
        world.make(owner)
    for alias in ("default", "owner"):
        connections[alias].close()
    other = f"{database}_b"
    owner_sql("CREATE DATABASE {} TEMPLATE {}", other, database)
    alone, together = Copy(database, world), Copy(other, world)
    together.count_singles()
    try:
        yield alone, together
    finally:
        for connection in (alone.app, alone.owner, together.app, together.owner):
            connection.close()
        owner_sql("DROP DATABASE {} WITH (FORCE)", other)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_is_its_asks_one_by_one(committed_db: str, seed: int) -> None:
    world = World(seed)
    with copies(world, committed_db) as (alone, together):
        at = BEGINS
        for copy in (alone, together):
            copy.set_clock(at)
        statuses: Counter[str] = Counter()
        for number, (kind, what) in enumerate(world.steps(ASKS)):
            step = f"seed {seed}, step {number}"
            if kind == "clock":
                at += timedelta(seconds=what)
                for copy in (alone, together):
                    copy.set_clock(at)
            elif kind == "batch":
                expected = [alone.one(ask) for ask in what]
                decided = together.batch(what)
                for ask, one, other in zip(what, expected, decided, strict=True):
                    assert one == other, (step, ask)
                    statuses[one.get("denial", "failed") or "201"] += 1
            else:
                assert alone.do(kind, what) == together.do(kind, what), (step, what)
        for copy in (alone, together):
            copy.owner.execute("SELECT tollgate.flush_refusals(NULL, 'infinity', 1000000)")
        for name in STATE:
            one, other = alone.state(name), together.state(name)
            differing = [*map("alone: {}".format, one - other), *map("set: {}".format, other - one)]
            assert not differing, "\n".join([f"seed {seed}: {name}", *differing])
        singles = together.warnings.count("single")
        print(f"seed {seed}: {singles} alone, {dict(statuses)}")
        failures = [item for item in together.warnings if item != "single"]
        assert len(failures) <= statuses["failed"], failures
        # (All of a batch with one that fails; the cost cap of a feature, probes and the minute.)
        assert singles <= ASKS / 2
