"""Finishes in batches against everything else that changes the same runs, on real connections."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections
from psycopg import errors

from budgets import admission, tasks
from budgets.admission import FinishTold, batches, counters
from budgets.admission.batches import Answer, Ask
from budgets.admission.direct_spend import Attribution, SpendTold, spend_fields
from config.run.scratch import with_database
from opslog.models import OperationsEvent
from tests.admission.desk import Desk, run_of
from tests.factories import lift_limits, make_work_order
from workorders.models import Run

RUNS = 360


@pytest.fixture
def desk(committed_db: str) -> Desk:
    lift_limits()
    for name in ("w1", "w2"):
        make_work_order(name, runs_per_day=10_000, usd_per_day="900.00", max_concurrent_runs=10_000)
    return Desk()


def finish(desk: Desk, run: str, usd: str = "0.05") -> Ask:
    report = FinishTold("success", Decimal(usd))
    return Ask("finish", admission.finish_fields(UUID(run), report, caller=desk.caller))


def spend(desk: Desk) -> Ask:
    return Ask(
        "spend", spend_fields(SpendTold(Attribution("u"), Decimal("0.01")), caller=desk.caller)
    )


def decide(asks: list[Ask]) -> list[Answer]:
    """As a gatherer does: the procedure, which frees the locks before the flush."""
    with connection.cursor() as cursor:
        places = [batches.encode(asks).decode(), *admission.start_settings().values()]
        cursor.execute("CALL tollgate.decide_v1(%s, %s, %s, %s, %s, NULL)", places)
        return sorted(batches.decode(cursor.fetchone()[0]), key=lambda answer: answer.n)


def test_batches_race_with_single_finishes_extensions_and_reaping(desk: Desk) -> None:
    """Each run is settled once, by whoever comes first, and the counters agree with the runs."""
    runs = [
        run_of(desk.start(f"w{1 + n % 2}", "0.10", lease_seconds=1 if n % 3 == 0 else 900))
        for n in range(RUNS)
    ]
    seen: Counter[tuple[str, int, str]] = Counter()
    settled: Counter[str] = Counter()
    mutex, over = threading.Lock(), threading.Event()

    def note(what: str, status: int, denial: str) -> None:
        with mutex:
            seen[what, status, denial] += 1

    def in_batches(number: int) -> None:
        chance = random.Random(number)
        left = chance.sample(runs, RUNS)
        while left:
            size = chance.choice([2, 8, 24])
            part, left = left[:size], left[size:]
            # (Each sender has an amount of its own, so a replay is never taken for another's.)
            asks = [finish(desk, run, f"0.0{number}") for run in part] + [spend(desk)] * 2
            for run, answer in zip([*part, "", ""], decide(asks), strict=True):
                note("batch", answer.status, answer.denial)
                if run and answer.status == 200 and not answer.replayed:
                    with mutex:
                        settled[run] += 1
        connection.close()

    def singly(number: int) -> None:
        for run in random.Random(number).sample(runs, RUNS // 4):
            decision = desk.finish(run, "0.04")
            note("single", decision.status, decision.denial)
            with mutex:
                settled[run] += decision.status == 200 and not decision.replayed
        connection.close()

    def extend(number: int) -> None:
        for run in random.Random(number).sample(runs, RUNS // 4):
            decision = desk.extend(run, "0.02")
            note("extension", decision.status, decision.denial)
        connection.close()

    def reap() -> None:
        while not over.is_set():
            tasks.expire_leases()
        connection.close()

    reaper = threading.Thread(target=reap)
    reaper.start()
    try:
        with ThreadPoolExecutor(5) as pool:
            acts = [(in_batches, 1), (in_batches, 2), (in_batches, 3), (singly, 4), (extend, 5)]
            for future in [pool.submit(act, number) for act, number in acts]:
                future.result()
    finally:
        over.set()
        reaper.join()
    assert set(seen) <= {
        *(("batch", 200, ""), ("batch", 409, "run_ended"), ("batch", 0, "alone")),
        *(("single", 200, ""), ("single", 409, "run_ended")),
        *(("extension", 200, ""), ("extension", 409, "run_ended")),
    }
    assert seen["batch", 200, ""] > RUNS // 4
    assert not Run.objects.filter(status="running").exclude(pk__in=set(runs) - set(settled))
    assert set(settled.values()) == {1}
    recorded = OperationsEvent.objects.filter(kind__in=("RUN_FINISHED", "RUN_FINISHED_LATE"))
    assert Counter(recorded.values_list("meta__runId", flat=True)) == settled
    assert not list(counters.differences())
    connections["owner"].close()


def test_a_run_that_somebody_holds_is_handed_back_and_nobody_waits(
    desk: Desk, committed_db: str
) -> None:
    held, free = (run_of(desk.start()) for _ in range(2))
    with psycopg.connect(with_database(settings.OWNER_URL, committed_db)) as other:
        other.execute("SELECT FROM work_order_runs WHERE id = %s FOR UPDATE", [held])
        answers = decide([finish(desk, held), finish(desk, free)])
        assert [(each.status, each.denial) for each in answers] == [(0, "alone"), (200, "")]
        [alone] = decide([finish(desk, held)])
        assert (alone.status, alone.denial) == (0, "alone")
        # The control: the batch does want the row, and waits for it where it may.
        assert source("settle_batch_v1").count("SKIP LOCKED") == 1
        replace("settle_batch_v1", "SKIP LOCKED", "NOWAIT")
        with pytest.raises(OperationalError) as refused:
            decide([finish(desk, held)])
        assert isinstance(refused.value.__cause__, errors.LockNotAvailable)
        replace("settle_batch_v1", "NOWAIT", "SKIP LOCKED")
    assert [each.status for each in decide([finish(desk, held)])] == [200]


def source(routine: str) -> str:
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef(%s::regproc)", [f"tollgate.{routine}"])
        return str(cursor.fetchone()[0])


def replace(routine: str, old: str, new: str) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(source(routine).replace(old, new))


def test_what_is_clear_is_settled_without_the_routine_for_one(desk: Desk) -> None:
    """Or a set that always fails, and is then decided one by one, would pass every other test."""
    runs = [run_of(desk.start(f"w{1 + n % 2}")) for n in range(6)]
    for routine in ("decide_alone",):
        replace(routine, "BEGIN", "BEGIN RETURN tollgate.refusal(0, 'by itself', '');")
    asks = [finish(desk, run) for run in runs] + [spend(desk)] * 3
    answers = decide([*asks, finish(desk, runs[0], "0.07"), asks[1]])
    assert [each.status for each in answers] == [200] * 9 + [0, 0]
    # Above what it reserved, one settles by its routine.
    answers = decide([finish(desk, run_of(desk.start()), usd) for usd in ("0.10", "0.11", "0")])
    assert [(each.status, each.denial) for each in answers] == [
        (200, ""),
        (0, "by itself"),
        (200, ""),
    ]


def test_each_ends_at_a_moment_of_its_own_in_order_of_arrival(desk: Desk) -> None:
    """The last hundred runs, which an estimate is made of, are then the same runs as one by one."""
    runs = random.Random(1).sample([run_of(desk.start(f"w{1 + n % 2}")) for n in range(12)], 12)
    assert {each.status for each in decide([finish(desk, run) for run in runs])} == {200}
    ended = dict(Run.objects.values_list("pk", "finished_at"))
    moments = [at for run in runs if (at := ended[UUID(run)])]
    assert len(moments) == 12
    assert moments == sorted(moments)
    assert len(set(moments)) > 1
