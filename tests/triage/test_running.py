"""The triage at work on real rows: one at a time, once for each spike, whatever kills it."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connections
from django_q.models import OrmQ

from budgets import alerts
from budgets.controls import breaker
from config.run.scratch import child_environment
from opslog import tasks
from opslog.incidents import triage_job, triage_reads
from opslog.models import Incident, OperationsEvent
from opslog.telemetry import rollup
from opslog.triage.data import Rollups
from tests.incidents.findings import HOUR, NORMAL, tell_hours, whole_hour
from tests.waiting import HANG_SECONDS, wait_until

NOW = whole_hour(datetime.fromisoformat("2026-11-20T12:00:00+00:00"))
LONG, DEAR = 7700, "20.00"  # tokens of a call that costs five times as much


def tell(feature: str, since: datetime, until: datetime, *, dear_from: datetime | None) -> None:
    """Hours of a feature at $4, from `dear_from` on at $20 for longer input."""
    hours = int((until - since) / HOUR)
    every = [since + n * HOUR for n in range(hours)]
    dear = {at: DEAR for at in every if dear_from and at >= dear_from}
    usual = {at: NORMAL for at in every if at not in dear}
    if usual:
        tell_hours(usual, feature)
    if dear:
        tell_hours(dear, feature, input_tokens=LONG)


def look(now: datetime) -> Incident | None:
    rollup.refresh()
    return triage_job.run(now=now)


def test_the_job_sums_up_and_judges(db: None) -> None:
    tell("summaries", NOW - timedelta(days=6), NOW, dear_from=NOW - 10 * HOUR)
    with time_machine.travel(NOW, tick=False):
        judged = tasks.run_triage()
    incident = Incident.objects.get()
    assert (incident.pk, incident.judged_until) == (judged, NOW)


def test_a_second_fault_has_an_incident_of_its_own(db: None) -> None:
    begins = NOW - timedelta(days=6)
    tell("summaries", begins, NOW, dear_from=NOW - 40 * HOUR)
    tell("chat", begins, NOW, dear_from=NOW - 10 * HOUR)
    for hours in range(38, -1, -2):
        look(NOW - hours * HOUR)
    first, second = Incident.objects.order_by("id")
    assert (first.feature, second.feature) == ("summaries", "chat")
    assert (first.started_at, second.started_at) == (NOW - 40 * HOUR, NOW - 10 * HOUR)
    assert [each.cause for each in (first, second)] == ["context_bloat"] * 2
    assert "Without summaries" in second.sentences[-1]
    assert first.judged_until == second.judged_until == NOW


def test_what_begins_together_is_one_spike(db: None) -> None:
    begins = NOW - timedelta(days=6)
    tell("summaries", begins, NOW, dear_from=NOW - 12 * HOUR)
    tell("chat", begins, NOW, dear_from=NOW - 10 * HOUR)
    for hours in range(9, -1, -1):
        look(NOW - hours * HOUR)
    assert Incident.objects.count() == 1


def test_an_incident_that_nobody_closes_does_not_blind(db: None) -> None:
    """After six days its figures stay, and a new spike elsewhere is found."""
    begins = NOW - timedelta(days=12)
    tell("summaries", begins, NOW, dear_from=NOW - timedelta(days=8))
    tell("chat", begins, NOW, dear_from=NOW - 6 * HOUR)
    found = look(NOW - timedelta(days=8) + 4 * HOUR)
    assert found is not None
    kept = look(NOW - timedelta(days=3))
    assert kept is not None
    before = Incident.objects.get().baseline_usd_per_hour
    assert before == pytest.approx(2 * NORMAL, rel=Decimal("0.05"))
    for hours in (30, 20, 10, 4, 0):
        look(NOW - hours * HOUR)
    first, second = Incident.objects.order_by("id")
    assert first.baseline_usd_per_hour == before
    assert (second.feature, second.started_at) == ("chat", NOW - 6 * HOUR)


def at_once(workers: int, ended: list[int]) -> None:
    def work(number: int) -> None:
        try:
            triage_job.run(now=NOW)
        finally:
            ended.append(number)
            connections.close_all()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def test_one_at_a_time(committed_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell("summaries", NOW - timedelta(days=6), NOW, dear_from=NOW - 5 * HOUR)
    rollup.refresh()
    inside, most = [0], [0]
    ended: list[int] = []
    real, gate = triage_reads.rollups, threading.Lock()

    def counted(until: datetime) -> object:
        with gate:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        wait_until(lambda: inside[0] + len(ended) == 8)  # the others were turned away, or are in
        try:
            return real(until)
        finally:
            with gate:
                inside[0] -= 1

    monkeypatch.setattr(triage_reads, "rollups", counted)
    at_once(8, ended)
    assert most == [1]
    assert Incident.objects.count() == 1
    assert OperationsEvent.objects.filter(kind="INCIDENT_DETECTED").count() == 1


def test_without_the_lock_they_are_not(committed_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it is the lock that keeps them apart."""
    barrier = threading.Barrier(2, timeout=HANG_SECONDS)

    def meet(until: datetime) -> Rollups:
        barrier.wait()  # broken, if the other one is kept away
        return Rollups(until, [])

    monkeypatch.setattr(triage_reads, "rollups", meet)
    monkeypatch.setattr(triage_job, "_alone", lambda: True)
    at_once(2, [])
    assert not barrier.broken


# What a worker does until it is killed: it says that it is there, and stays.
KILLED = """
import signal, sys, django
django.setup()
from datetime import datetime
from opslog.incidents import detecting, notices, triage_job, triage_reads
module, name = {"reading": (triage_reads, "detail"), "proposing": (detecting, "_propose"),
    "telling": (notices, "tell"), "done": (triage_job, "finding_of")}[sys.argv[1]]
real = getattr(module, name)
def stay(*args, **kwargs):
    found = real(*args, **kwargs)
    print("here", flush=True)
    signal.pause()
    return found
setattr(module, name, stay)
triage_job.run(now=datetime.fromisoformat(sys.argv[2]))
"""


@pytest.mark.parametrize("place", ["reading", "proposing", "telling", "done"])
def test_killed_and_run_again_it_is_there_once(committed_db: str, place: str) -> None:
    tell("summaries", NOW - timedelta(days=6), NOW, dear_from=NOW - 5 * HOUR)
    rollup.refresh()
    env = {**os.environ, **child_environment(committed_db, {})}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, place, NOW.isoformat()],
        env=env, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == "here\n"
        assert triage_job.run(now=NOW) is None  # the lock is still held
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    # Until the server has seen that the worker is gone.
    found = wait_until(lambda: triage_job.run(now=NOW))
    triage_job.run(now=NOW)
    assert Incident.objects.count() == 1
    assert OperationsEvent.objects.filter(kind="INCIDENT_DETECTED").count() == 1
    assert found.entries.filter(kind="detected").count() == 1


def test_a_breaker_that_trips_asks_for_it(committed_db: str) -> None:
    """The job of alerts tells of a breaker that opened, and has the cost looked into."""
    breaker.trip("global", "", reason="a test", by="ops")
    alerts.tell()
    assert any("budgets.tasks.triage" in str(each.task) for each in OrmQ.objects.all())
