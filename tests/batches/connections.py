"""Batches on connections of their own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings

from config.run.scratch import with_database
from tests.admission.desk import Desk

SETTINGS = [86400, True, "5.00", 20]

SINGLE = """
SELECT tollgate.answer_json(q.n, tollgate.start_run_v1(q.digest, q.address, q.wo, q.agent,
    q.estimate, q.priced, q.book_version, q.lease, q.tokens, q.model, q.tier, q.user_id, q.surface,
    q.feature, false, q.confirm, q.key, q.fingerprint, q.request_id, q.sent_as, %s, %s, %s, %s))
FROM json_populate_record(NULL::tollgate.ask, %s) q
"""
BATCH = "SELECT answers FROM tollgate.decide_run_v1(%s, %s, %s, %s, %s)"


def ask(desk: Desk, n: int, wo: str, usd: str = "0.01") -> dict[str, Any]:
    named = ("model", "tier", "user_id", "surface", "feature", "request_id", "key")
    return dict.fromkeys(named, "") | {
        "n": n,
        "op": "start",
        "digest": "\\x" + desk.caller.digest.hex(),
        "address": "10.0.0.1",
        "wo": wo,
        "agent": "a",
        "estimate": usd,
        "lease": 900,
        "fingerprint": "\\x",
        "confirm": False,
    }


@contextmanager
def client(database: str, url: str = "") -> Iterator[psycopg.Connection[Any]]:
    url = with_database(url or settings.APP_URL, database)
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def decide(connection: psycopg.Connection[Any], asks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    row = connection.execute(BATCH, [json.dumps(asks), *SETTINGS]).fetchone()
    assert row is not None
    return sorted(json.loads(row[0]), key=lambda answer: int(answer["n"]))


def waiting(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    return int(row[0])
