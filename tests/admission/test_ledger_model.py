"""The service against a plain-Python ledger: whatever is asked in whatever order, both agree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from budgets import leases, ledger, selectors
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.factories import lift_limits, make_work_order, set_caps, set_limit
from workorders import directory
from workorders.models import WorkOrder

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
CENTS = st.integers(0, 120).map(lambda cents: Decimal(cents) / 100)
GLOBAL_USD = Decimal("2.50")


@dataclass
class ModelRun:
    wo: str
    day: Any
    reserved: Decimal
    lease: int
    ends: datetime
    status: str = "running"
    cost: Decimal | None = None

    @property
    def held(self) -> Decimal:
        return self.reserved if self.cost is None else self.cost


@dataclass
class ModelLedger:
    """What the design says, in as few words as possible."""

    now: datetime = NOON
    caps: dict[str, tuple[int, Decimal, int]] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    runs: dict[str, ModelRun] = field(default_factory=dict)

    def of_day(self, wo: str | None, day: Any) -> list[ModelRun]:
        return [r for r in self.runs.values() if r.day == day and wo in (None, r.wo)]

    def used(self, wo: str | None, day: Any) -> Decimal:
        return sum((r.held for r in self.of_day(wo, day)), Decimal(0))

    def reap(self, wo: str | None = None) -> None:
        for r in self.runs.values():
            if r.status == "running" and r.ends <= self.now and wo in (None, r.wo):
                r.status, r.cost = "expired", r.reserved

    def start(self, wo: str, usd: Decimal) -> str:
        day = self.now.date()
        runs_cap, usd_cap, at_once = self.caps[wo]
        if wo in self.suspended:
            return "suspended"

        def full() -> bool:
            return sum(r.wo == wo and r.status == "running" for r in self.runs.values()) >= at_once

        if full():
            self.reap(wo)
            if full():
                return "concurrency"
        if len(self.of_day(wo, day)) + 1 > runs_cap:
            return "runs_per_day"
        if self.used(wo, day) + usd > usd_cap:
            return "usd_per_day"
        if self.used(None, day) + usd > GLOBAL_USD:
            return "budget:global:day"
        return ""

    def extend(self, r: ModelRun, usd: Decimal) -> str:
        if r.status != "running" or r.ends <= self.now:
            return "run_ended"
        if r.wo in self.suspended:
            return "suspended"
        if usd and self.used(r.wo, r.day) + usd > self.caps[r.wo][1]:
            return "usd_per_day"
        if usd and self.used(None, r.day) + usd > GLOBAL_USD:
            return "budget:global:day"
        return ""


class Agreement(RuleBasedStateMachine):
    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ModelLedger()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize()
    def begin(self) -> None:
        self.move_clock(timedelta())
        lift_limits()
        set_limit("global", "day", "usd", GLOBAL_USD)
        for wo, at_once in (("w1", 2), ("w2", 4)):
            make_work_order(wo, runs_per_day=6, usd_per_day="2.00", max_concurrent_runs=at_once)
            self.ledger.caps[wo] = (6, Decimal("2.00"), at_once)
        self.desk = Desk()

    def move_clock(self, by: timedelta) -> None:
        self.ledger.now += by
        set_clock(self.ledger.now)

    @rule(
        target=runs,
        wo=st.sampled_from(["w1", "w2"]),
        usd=CENTS,
        lease=st.sampled_from([30, 3600, 86400]),
    )
    def start(self, wo: str, usd: Decimal, lease: int) -> str:
        expected = self.ledger.start(wo, usd)
        decision = self.desk.start(wo, usd=usd, lease_seconds=lease)
        assert decision.denial == expected
        if expected:
            return ""
        run = run_of(decision)
        assert Decimal(body(decision)["reservedUsd"]) == usd
        now = self.ledger.now
        self.ledger.runs[run] = ModelRun(wo, now.date(), usd, lease, now + timedelta(seconds=lease))
        return run

    @rule(run=runs, usd=CENTS, status=st.sampled_from(["success", "error", "cancelled"]))
    def finish(self, run: str, usd: Decimal, status: str) -> None:
        if not run:
            return
        known = self.ledger.runs[run]
        decision = self.desk.finish(run, usd, status)
        if known.status in ("running", "expired"):
            assert decision.status == 200
            known.status, known.cost = status, usd
        else:
            same = (known.status, known.cost) == (status, usd)
            assert decision.status == (200 if same else 409)

    @rule(run=runs, usd=CENTS)
    def extend(self, run: str, usd: Decimal) -> None:
        if not run:
            return
        known = self.ledger.runs[run]
        expected = self.ledger.extend(known, usd)
        assert self.desk.extend(run, usd).denial == expected
        if not expected:
            known.reserved += usd
            known.ends = self.ledger.now + timedelta(seconds=known.lease)

    @rule()
    def expire(self) -> None:
        self.ledger.reap()
        leases.expire()

    @rule(wo=st.sampled_from(["w1", "w2"]))
    def suspend_or_resume(self, wo: str) -> None:
        if wo in self.ledger.suspended:
            directory.resume(wo, by="ops", reason="test")
            self.ledger.suspended.discard(wo)
        else:
            directory.suspend(wo, by="ops", reason="test")
            self.ledger.suspended.add(wo)

    @rule(wo=st.sampled_from(["w1", "w2"]), runs_cap=st.integers(1, 8), usd_cap=st.integers(1, 250))
    def change_caps(self, wo: str, runs_cap: int, usd_cap: int) -> None:
        caps = (runs_cap, Decimal(usd_cap) / 100)
        set_caps(WorkOrder.objects.get(pk=wo), *caps)
        self.ledger.caps[wo] = (*caps, self.ledger.caps[wo][2])

    @rule(minutes=st.sampled_from([1, 61, 7 * 60, 12 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.move_clock(timedelta(minutes=minutes))

    @invariant()
    def both_know_the_same(self) -> None:
        if not self.ledger.caps:
            return
        for wo in self.ledger.caps:
            usage = selectors.usage_today(WorkOrder(id=wo))
            today = self.ledger.now.date()
            assert usage.used_usd == self.ledger.used(wo, today)
            assert usage.runs == len(self.ledger.of_day(wo, today))
            assert usage.open_runs == sum(
                r.wo == wo and r.status == "running" for r in self.ledger.runs.values()
            )

    @invariant()
    def counters_are_recomputable(self) -> None:
        assert not list(ledger.differences())


@pytest.fixture
def settable_clock(committed_db: str) -> Iterator[None]:
    install_clock()
    yield
    connection.close()


def test_the_service_agrees_with_the_model(settable_clock: None) -> None:
    run_state_machine_as_test(
        Agreement,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
