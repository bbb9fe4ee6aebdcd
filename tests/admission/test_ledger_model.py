"""The service against a plain-Python ledger: whatever is asked in whatever order, both agree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from math import ceil
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
    precondition,
    rule,
    run_state_machine_as_test,
)

from budgets import breaker, features, leases, ledger, selectors
from budgets.models import CircuitBreaker, CostRule, FeatureControl
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.factories import lift_limits, make_work_order, set_caps, set_limit
from workorders import directory
from workorders.models import WorkOrder

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
CENTS = st.integers(0, 120).map(lambda cents: Decimal(cents) / 100)
GLOBAL_USD = Decimal("2.50")
FEATURE_USD = Decimal("1.50")  # in any 60 minutes
FLOOR_RUNS = 3
OPEN_SECONDS, PROBE_SECONDS = 300, 60
NOTHING = Decimal(0)


def slot(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


@dataclass
class Part:
    """Dollars that a moment gave a run, and what of its cost that moment bears."""

    at: datetime
    reserved: Decimal
    settled: Decimal | None = None

    @property
    def held(self) -> Decimal:
        return self.reserved if self.settled is None else self.settled


@dataclass
class ModelRun:
    wo: str
    feature: str
    began: datetime
    lease: int
    ends: datetime
    parts: list[Part]
    status: str = "running"
    cost: Decimal | None = None

    @property
    def day(self) -> Any:
        return self.began.date()

    @property
    def reserved(self) -> Decimal:
        return sum((part.reserved for part in self.parts), NOTHING)

    @property
    def held(self) -> Decimal:
        return self.reserved if self.cost is None else self.cost

    def settle(self, cost: Decimal, now: datetime) -> bool:
        """Every part bears its share in turn; whether some was left for the present moment."""
        left, self.cost = cost, cost
        for part in self.parts:
            part.settled = min(left, part.reserved)
            left -= part.settled
        if left:
            self.parts.append(Part(now, NOTHING, left))
        return bool(left)


@dataclass
class ModelBreaker:
    state: str = "closed"
    changed: datetime = NOON
    half_open_at: datetime = NOON
    probe: str = ""

    def trip(self, now: datetime) -> None:
        self.state, self.changed, self.probe = "open", now, ""
        self.half_open_at = now + timedelta(seconds=OPEN_SECONDS)

    def probed_by(self, run: str, now: datetime) -> None:
        self.changed = now if self.state == "open" else self.changed
        self.state, self.probe = "half_open", run
        self.half_open_at = now + timedelta(seconds=PROBE_SECONDS)

    def after(self, run: str, r: ModelRun, now: datetime) -> None:
        """What the end of a run means for it."""
        if self.state == "half_open" and r.status == "success" and r.began >= self.changed:
            self.state = "closed"
        elif self.state == "half_open" and self.probe == run:
            if r.status == "cancelled":
                self.state, self.half_open_at, self.probe = "open", now, ""
            else:
                self.trip(now)


@dataclass
class ModelLedger:
    """What the design says, in as few words as possible."""

    now: datetime = NOON
    caps: dict[str, tuple[int, Decimal, int]] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    runs: dict[str, ModelRun] = field(default_factory=dict)
    feature_on: bool = True
    breaker: ModelBreaker = field(default_factory=ModelBreaker)
    ended: list[ModelRun] = field(default_factory=list)  # successes and errors, oldest first

    def of_day(self, wo: str | None, day: Any) -> list[ModelRun]:
        return [r for r in self.runs.values() if r.day == day and wo in (None, r.wo)]

    def used(self, wo: str | None, day: Any) -> Decimal:
        return sum((r.held for r in self.of_day(wo, day)), NOTHING)

    def used_of_feature(self) -> Decimal:
        since = self.now - timedelta(minutes=61)
        parts = [part for r in self.runs.values() if r.feature for part in r.parts]
        return sum((part.held for part in parts if slot(part.at) > since), NOTHING)

    def default_usd(self, wo: str) -> Decimal:
        """Of what cost something or succeeded; a share of the cap until enough succeeded."""
        proof = [r for r in self.ended if r.wo == wo and (r.cost or r.status == "success")]
        costs = sorted(r.cost or NOTHING for r in proof)
        p95 = costs[ceil(Decimal(len(costs)) * 95 / 100) - 1] if costs else NOTHING
        if p95 and sum(r.status == "success" for r in proof) >= FLOOR_RUNS:
            return p95
        runs_cap, usd_cap, _ = self.caps[wo]
        return max(p95, (usd_cap / runs_cap).quantize(Decimal("1e-9"), ROUND_DOWN))

    def reap(self, wo: str | None = None) -> bool:
        due = [
            (run, r)
            for run, r in self.runs.items()
            if r.status == "running" and r.ends <= self.now and wo in (None, r.wo)
        ]
        for run, r in sorted(due, key=lambda each: each[1].ends):
            r.status = "expired"
            r.settle(r.reserved, self.now)
            self.breaker.after(run, r, self.now)
        return bool(due)

    def switch_off_if_used_up(self) -> None:
        if self.used_of_feature() >= FEATURE_USD:
            self.feature_on = False

    def feature_refuses(self, usd: Decimal) -> str:
        """Only what is committed switches it off; what does not fit is refused alone."""
        if self.feature_on and self.used_of_feature() + usd <= FEATURE_USD:
            self.switch_off_if_used_up()
            return "" if self.feature_on else "feature_off"
        if self.feature_on and self.used_of_feature() < FEATURE_USD:
            return "feature_rate"
        self.feature_on = False
        return "feature_off"

    def full(self, wo: str) -> bool:
        running = sum(r.wo == wo and r.status == "running" for r in self.runs.values())
        return running >= self.caps[wo][2]

    def start(self, wo: str, usd: Decimal, feature: str) -> str:
        day = self.now.date()
        runs_cap, usd_cap, _ = self.caps[wo]
        reaped = False
        while True:
            if self.breaker.state != "closed" and self.now < self.breaker.half_open_at:
                probe = self.runs.get(self.breaker.probe)
                if probe and not reaped and self.reap(probe.wo):
                    reaped = True
                    continue
                return "breaker_open"
            if feature and (refused := self.feature_refuses(usd)):
                return refused
            if wo in self.suspended:
                return "suspended"
            if not self.full(wo):
                break
            if reaped or not self.reap(wo):
                return "concurrency"
            reaped = True
        if len(self.of_day(wo, day)) + 1 > runs_cap:
            return "runs_per_day"
        if self.used(wo, day) >= usd_cap or self.used(wo, day) + usd > usd_cap:
            return "usd_per_day"
        if self.used(None, day) >= GLOBAL_USD or self.used(None, day) + usd > GLOBAL_USD:
            return "budget:global:day"
        return ""

    def extend(self, run: str, r: ModelRun, usd: Decimal) -> str:
        if r.status != "running" or r.ends <= self.now:
            return "run_ended"
        if usd and self.breaker.state != "closed" and self.breaker.probe != run:
            return "breaker_open"
        if usd and r.feature and (refused := self.feature_refuses(usd)):
            return refused
        if r.wo in self.suspended:
            return "suspended"
        if usd and self.used(r.wo, r.day) + usd > self.caps[r.wo][1]:
            return "usd_per_day"
        if usd and self.used(None, r.day) + usd > GLOBAL_USD:
            return "budget:global:day"
        return ""

    def finish(self, run: str, r: ModelRun, status: str, usd: Decimal) -> None:
        was_running = r.status == "running"
        r.status = status
        if r.settle(usd, self.now) and r.feature:
            self.switch_off_if_used_up()
        if status in ("success", "error"):
            self.ended.append(r)
        if was_running:
            self.breaker.after(run, r, self.now)


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
        CircuitBreaker.objects.update(error_percent=None)
        CostRule.objects.update(floor_runs=FLOOR_RUNS)
        features.change("digest", {"cost_cap_usd": FEATURE_USD}, reason="test", by="test")
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
        usd=st.none() | CENTS,
        lease=st.sampled_from([30, 3600, 86400]),
        feature=st.sampled_from(["", "digest"]),
    )
    def start(self, wo: str, usd: Decimal | None, lease: int, feature: str) -> str:
        reserves = self.ledger.default_usd(wo) if usd is None else usd
        expected = self.ledger.start(wo, reserves, feature)
        decision = self.desk.start(wo, usd=usd, lease_seconds=lease, feature=feature)
        assert decision.denial == expected
        if expected:
            return ""
        run = run_of(decision)
        assert Decimal(body(decision)["reservedUsd"]) == reserves
        now = self.ledger.now
        ends = now + timedelta(seconds=lease)
        self.ledger.runs[run] = ModelRun(wo, feature, now, lease, ends, [Part(now, reserves)])
        if feature:
            self.ledger.switch_off_if_used_up()
        if self.ledger.breaker.state != "closed":
            self.ledger.breaker.probed_by(run, now)
        return run

    @rule(run=runs, usd=CENTS, status=st.sampled_from(["success", "error", "cancelled"]))
    def finish(self, run: str, usd: Decimal, status: str) -> None:
        if not run:
            return
        known = self.ledger.runs[run]
        decision = self.desk.finish(run, usd, status)
        if known.status in ("running", "expired"):
            assert decision.status == 200
            self.ledger.finish(run, known, status, usd)
        else:
            same = (known.status, known.cost) == (status, usd)
            assert decision.status == (200 if same else 409)

    @rule(run=runs, usd=CENTS)
    def extend(self, run: str, usd: Decimal) -> None:
        if not run:
            return
        known = self.ledger.runs[run]
        expected = self.ledger.extend(run, known, usd)
        assert self.desk.extend(run, usd).denial == expected
        if not expected:
            now = self.ledger.now
            known.ends = now + timedelta(seconds=known.lease)
            if usd:
                known.parts.append(Part(now, usd))
            if usd and known.feature:
                self.ledger.switch_off_if_used_up()

    @rule()
    def trip(self) -> None:
        breaker.trip("global", "", reason="test", by="ops")
        self.ledger.breaker.trip(self.ledger.now)

    @precondition(lambda self: not self.ledger.feature_on)
    @rule()
    def switch_the_feature_on(self) -> None:
        features.change("digest", {"enabled": True}, reason="test", by="ops")
        self.ledger.feature_on = True

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

    @rule(seconds=st.sampled_from([20, 60, 300, 61 * 60, 7 * 3600, 12 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.move_clock(timedelta(seconds=seconds))

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
    def switches_stand_alike(self) -> None:
        if not self.ledger.caps:
            return
        assert FeatureControl.objects.get(feature="digest").enabled == self.ledger.feature_on
        row, known = CircuitBreaker.objects.get(scope="global"), self.ledger.breaker
        assert (row.state, str(row.probe_run_id or "")) == (
            known.state,
            known.probe if known.state == "half_open" else "",
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
