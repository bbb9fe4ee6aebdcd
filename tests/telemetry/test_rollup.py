"""The sums of the hours are what the events say, however and whenever these came."""

import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections

from opslog import tasks
from opslog.models import InferenceHour, StaleHour, ToolHour
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from tests import factories
from tests.telemetry.recomputed import differences

NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=10)
TOKENS = (0, 1, 2, 3, 4, 1023, 1024, 2**22 - 1, 2**22, 10**9)


def event(name: str, minutes: float = 0, **kw: Any) -> InferenceDraft:
    return InferenceDraft(
        event_id=name,
        created_at=NOON + timedelta(minutes=minutes),
        **{"model": "gpt-4o-mini", "feature": "chat", **kw},
    )


def call(name: str, asked_by: str, minutes: float = 0, **kw: Any) -> ToolDraft:
    return ToolDraft(
        event_id=name,
        created_at=NOON + timedelta(minutes=minutes),
        inference_event_id=asked_by,
        **{"tool_name": "search", "feature": "chat", **kw},
    )


def some(
    rng: random.Random, start: int, count: int
) -> tuple[list[InferenceDraft], list[ToolDraft]]:
    events, calls = [], []
    for number in range(start, start + count):
        minutes = rng.uniform(0, 300)
        events.append(
            event(
                f"e{number}",
                minutes,
                feature=rng.choice(["chat", "search", ""]),
                model=rng.choice(["gpt-4o-mini", "unknown-model"]),
                trigger_type=rng.choice([None, "retry", "undo", "own"]),
                user_id=rng.choice(["", "a", "b", "c"]),
                input_tokens=rng.choice(TOKENS),
                output_tokens=rng.choice(TOKENS),
                success=rng.random() < 0.8,
            )
        )
        calls += [
            call(
                f"t{number}-{n}",
                f"e{number}",
                minutes + rng.uniform(-4, 170),
                feature=rng.choice(["chat", "tools"]),
                retries=n,
                success=rng.random() < 0.5,
            )
            for n in range(rng.choice([0, 0, 1, 3]))
        ]
    return events, calls


@pytest.mark.usefixtures("db")
class TestSums:
    def test_of_all_kinds(self) -> None:
        factories.make_price()
        events, calls = some(random.Random(1), 0, 300)
        accept_inference(events, source="api")
        accept_tools(calls)
        assert tasks.sum_up_telemetry() > 5
        assert InferenceHour.objects.count() > 20
        assert ToolHour.objects.filter(retry_hidden_requests__gt=0).exists()
        assert differences() == []
        assert not StaleHour.objects.exists()
        assert rollup.refresh() == 0

    def test_what_comes_late_is_summed_up_too(self) -> None:
        accept_inference([event("e1", cost_usd=Decimal(1))], source="api")
        rollup.refresh()
        accept_inference([event("e2", 59.9, cost_usd=Decimal(2))], source="api")
        assert rollup.refresh() == 1
        (row,) = InferenceHour.objects.all()
        assert (row.hour, row.requests, row.cost_usd) == (NOON, 2, Decimal(3))

    def test_trying_again_costs_in_the_hour_of_the_model_call(self) -> None:
        """Also when that hour was summed up before the tool was called, in the next one."""
        asked = event("e1", 59, cost_usd=Decimal("0.5"), trigger_type="retry")
        accept_inference([asked], source="api")
        rollup.refresh()
        accept_tools([call("t1", "e1", 61), call("t2", "e1", 62, retries=1)])
        rollup.refresh()
        first, second = ToolHour.objects.order_by("hour")
        assert (first.hour, first.calls, first.retry_requests) == (NOON, 0, 1)
        assert (first.retry_cost_usd, first.retry_hidden_cost_usd) == (Decimal("0.5"),) * 2
        assert (second.calls, second.retries, second.retry_requests) == (2, 1, 0)
        assert differences() == []

    def test_a_tool_call_before_its_model_call_arrives(self) -> None:
        accept_tools([call("t1", "e1", 61, retries=1)])
        rollup.refresh()
        accept_inference([event("e1", 59, cost_usd=Decimal(1))], source="api")
        rollup.refresh()
        assert differences() == []
        assert ToolHour.objects.get(hour=NOON).retry_cost_usd == 1

    def test_buckets_are_binary_digits(self) -> None:
        with connection.cursor() as cursor:
            for tokens in (*TOKENS, 7, 8, 9):
                cursor.execute("SELECT tollgate.token_bucket(%s)", [tokens])
                assert cursor.fetchone()[0] == min(23, tokens.bit_length()), tokens

    def test_rebuild_repairs_what_was_altered(self) -> None:
        events, calls = some(random.Random(2), 0, 50)
        accept_inference(events, source="api")
        accept_tools(calls)
        rollup.refresh()
        InferenceHour.objects.update(requests=7)
        ToolHour.objects.all().delete()
        assert differences() != []
        call_command("rebuild_rollup", "--since", f"{NOON + timedelta(hours=2):%Y-%m-%dT%H:%MZ}")
        wrong = InferenceHour.objects.filter(hour__lt=NOON + timedelta(hours=2))
        assert set(wrong.values_list("requests", flat=True)) == {7}
        assert differences() != []
        call_command("rebuild_rollup")
        assert differences() == []


def in_thread(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_under_concurrent_ingest_and_refreshers(committed_db: str) -> None:
    factories.make_price()
    done = threading.Event()

    def send(seed: int) -> None:
        for number in range(12):
            events, calls = some(random.Random(seed + number), 10_000 * seed + 50 * number, 50)
            accept_tools(calls)
            accept_inference(events, source="api")

    def keep_refreshing() -> None:
        while not done.is_set():
            rollup.refresh()

    refreshers = [in_thread(keep_refreshing) for _ in range(2)]
    for sender in [in_thread(partial(send, seed)) for seed in (100, 200, 300)]:
        sender.join()
    done.set()
    for thread in refreshers:
        thread.join()
    rollup.refresh()
    assert differences() == []
    assert sum(row.requests for row in InferenceHour.objects.all()) == 3 * 12 * 50


def test_a_batch_that_commits_late_is_not_missed(committed_db: str) -> None:
    """It was written before the refresh began and commits after it ended."""
    with connections["owner"].cursor() as slow:
        slow.execute("BEGIN")
        late = {"event_id": "late", "created_at": NOON.isoformat(), "model": "m"}
        slow.execute(
            "SELECT tollgate.accept_inference_v1(%s::json, '{}', now(), now(), 'api', 0)",
            [json.dumps([{**late, "input_tokens": 1, "output_tokens": 1}])],
        )
        accept_inference([event("e1")], source="api")
        assert rollup.refresh() == 1
        slow.execute("COMMIT")
    assert rollup.refresh() == 1
    assert sum(row.requests for row in InferenceHour.objects.all()) == 2
    assert differences() == []
