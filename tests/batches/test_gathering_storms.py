"""Several hosts, and single callers beside them, on one tight limit: never a cent too much."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal

import pytest
from django.db import connections
from django.db.models import Sum

from budgets.admission import Decision, counters
from opslog.database import authority
from tests import factories
from tests.admission.desk import Desk
from tests.batches.looping import answers, looping, start
from tests.waiting import wait_until
from workorders.models import Run

LIMIT = Decimal("4.37")
SIZES = ("0.07", "0.03", "0.01")
HOSTS = 3
ASKS = 120  # of each host
SINGLES = 2
ASKS_ALONE = 40  # of each single caller
OUTCOMES = {"", "usd_per_day"}
WITHOUT_THE_LOCK = """
CREATE OR REPLACE FUNCTION tollgate.hold_counters() RETURNS void LANGUAGE sql AS $$
    SELECT pg_sleep(0.002)
$$
"""


@pytest.fixture(autouse=True)
def settled(committed_db: str) -> Iterator[None]:
    yield
    wait_until(lambda: not (authority.outage.away or authority.outage._suspected))


def storm(work_order: str = "w1") -> list[Decision | Exception]:
    """All ask at once, for one cent, three or seven."""
    factories.lift_limits()
    factories.make_work_order(
        work_order, runs_per_day=9999, usd_per_day=str(LIMIT), max_concurrent_runs=9999
    )
    desk = Desk()
    barrier = threading.Barrier(SINGLES + 1)

    def alone(number: int) -> list[Decision | Exception]:
        barrier.wait()
        results: list[Decision | Exception] = []
        try:
            for turn in range(ASKS_ALONE):
                try:
                    results.append(desk.start(work_order, usd=SIZES[(number + turn) % 3]))
                except Exception as error:
                    results.append(error)
        finally:
            connections["default"].close()
        return results

    with ExitStack() as stack, ThreadPoolExecutor(SINGLES) as pool:
        hosts = [stack.enter_context(looping()) for _ in range(HOSTS)]
        singles = [pool.submit(alone, number) for number in range(SINGLES)]
        barrier.wait()
        sent = [
            each
            for turn in range(0, ASKS, 40)
            for host in hosts
            for each in host.send(
                [start(desk, work_order, usd=SIZES[(turn + number) % 3]) for number in range(40)]
            )
        ]
        return answers(sent) + [each for single in singles for each in single.result()]


def admitted(work_order: str = "w1") -> Decimal:
    total = Run.objects.filter(wo_id=work_order).aggregate(total=Sum("reserved_usd"))["total"]
    return total or Decimal(0)


def test_hosts_and_single_callers_admit_exactly_what_there_is_room_for() -> None:
    result = storm()
    assert len(result) == HOSTS * ASKS + SINGLES * ASKS_ALONE
    assert {each.denial if isinstance(each, Decision) else each for each in result} <= OUTCOMES
    # 440 asks of $0.0367 on average are $16: when there is no room for more, cents fill it up.
    assert admitted() == LIMIT
    assert not list(counters.differences())


def test_without_the_lock_they_admit_more() -> None:
    """A race is a matter of chance: one storm of ten must show it."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(WITHOUT_THE_LOCK)
    for number in range(10):
        storm(name := f"w{number}")
        if admitted(name) > LIMIT:
            return
    pytest.fail("without the lock the limit was never exceeded")
