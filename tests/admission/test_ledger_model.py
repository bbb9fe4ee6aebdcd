"""The service against a plain-Python ledger: whatever is asked in whatever order, both agree."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from budgets import tasks
from budgets.admission import (
    Decision,
    FinishTold,
    StartAsk,
    batches,
    counters,
    finish_fields,
    start_fields,
    start_settings,
)
from budgets.admission.batches import Answer, Ask
from budgets.admission.direct_spend import Attribution, SpendTold, spend_fields
from budgets.controls import breaker, features
from budgets.models import CircuitBreaker, CostRule, FeatureControl
from budgets.usage import today as selectors
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.admission.ledger_model import (
    FEATURE_USD,
    FLOOR_RUNS,
    GLOBAL_USD,
    OPEN_SECONDS,
    ModelLedger,
    ModelRun,
    Part,
)
from tests.factories import lift_limits, make_work_order, set_caps, set_limit
from workorders import directory
from workorders.models import WorkOrder

# Round amounts as often as others, so that caps are used up to the cent.
CENTS = (st.sampled_from([0, 25, 50, 100]) | st.integers(0, 120)).map(
    lambda cents: Decimal(cents) / 100
)
WORK_ORDERS = st.sampled_from(["w1", "w2"])
LEASES = st.sampled_from([30, 3600, 86400])
FEATURES = st.sampled_from(["", "digest"])
STATUSES = st.sampled_from(["success", "error", "cancelled"])


def together(asks: list[Ask]) -> list[Answer]:
    """One call. Nobody else is there, so none is handed back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT answers FROM tollgate.decide_run_v1(%s, %s, %s, %s, %s)",
            [batches.encode(asks).decode(), *start_settings().values()],
        )
        answers = batches.decode(cursor.fetchone()[0])
    return sorted(answers, key=lambda answer: answer.n)


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
        for wo, at_once in (("w1", 3), ("w2", 6)):
            make_work_order(wo, runs_per_day=9, usd_per_day="1.00", max_concurrent_runs=at_once)
            self.ledger.caps[wo] = (9, Decimal("1.00"), at_once)
        self.desk = Desk()

    def move_clock(self, by: timedelta) -> None:
        self.ledger.now += by
        set_clock(self.ledger.now)

    @rule(
        target=runs,
        wo=WORK_ORDERS,
        usd=st.none() | CENTS,
        lease=LEASES,
        feature=FEATURES,
    )
    def start(self, wo: str, usd: Decimal | None, lease: int, feature: str) -> str:
        decision = self.desk.start(wo, usd=usd, lease_seconds=lease, feature=feature)
        return self.started(wo, usd, lease, feature, decision)

    def started(
        self, wo: str, usd: Decimal | None, lease: int, feature: str, decision: Decision
    ) -> str:
        reserves = self.ledger.reserves(wo, usd)
        expected = self.ledger.start(wo, reserves, feature)
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

    @rule(run=runs, usd=CENTS, status=STATUSES)
    def finish(self, run: str, usd: Decimal, status: str) -> None:
        if not run:
            return
        self.finished(run, usd, status, self.desk.finish(run, usd, status))

    def finished(self, run: str, usd: Decimal, status: str, decision: Decision) -> None:
        known = self.ledger.runs[run]
        if known.status in ("running", "expired"):
            assert decision.status == 200
            self.ledger.finish(run, known, status, usd)
        else:
            same = (known.status, known.cost) == (status, usd)
            assert decision.status == (200 if same else 409)

    def wanted(self, wo: str, usd: Decimal | None, lease: int, feature: str) -> StartAsk:
        return StartAsk(wo, "agent-1", usd, lease_seconds=lease, feature=feature)

    @rule(
        target=runs,
        finishes=st.lists(st.tuples(st.integers(0, 99), CENTS, STATUSES), max_size=8),
        calls=st.lists(st.tuples(CENTS.map(lambda usd: usd / 4), FEATURES), max_size=4),
        starts=st.lists(st.tuples(WORK_ORDERS, st.none() | CENTS, LEASES, FEATURES), max_size=4),
    )
    def in_one_batch(self, finishes: list[Any], calls: list[Any], starts: list[Any]) -> Any:
        """Finishes, of the latest runs, then direct spend, then starts, whatever came first."""
        latest = list(self.ledger.runs)[-8:]
        ends = [(latest[n % len(latest)], usd, how) for n, usd, how in finishes if latest]
        caller = self.desk.caller
        asks = [
            *(
                Ask("start", start_fields(self.wanted(wo, usd, lease, feature), caller=caller))
                for wo, usd, lease, feature in starts
            ),
            *(
                Ask("finish", finish_fields(UUID(run), FinishTold(how, usd), caller=caller))
                for run, usd, how in ends
            ),
            *(
                Ask(
                    "spend",
                    spend_fields(SpendTold(Attribution(feature=feature), usd), caller=caller),
                )
                for usd, feature in calls
            ),
        ]
        if not asks:
            return multiple()
        answers = [answer.decision() for answer in together(asks)]
        for (run, usd, how), decision in zip(ends, answers[len(starts) :], strict=False):
            self.finished(run, usd, how, decision)
        for (usd, feature), decision in zip(calls, answers[len(starts) + len(ends) :], strict=True):
            assert decision.status == 200
            self.ledger.spend(usd, feature)
        return multiple(
            *(
                self.started(wo, usd, lease, feature, decision)
                for (wo, usd, lease, feature), decision in zip(starts, answers, strict=False)
            )
        )

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

    @rule(target=runs, wo=WORK_ORDERS, pause=st.sampled_from([25, 55, 300]))
    def probe(self, wo: str, pause: int) -> str:
        """What chance alone seldom comes to: a probe, and another ask before or after its time."""
        self.trip()
        self.time_passes(OPEN_SECONDS)
        first = str(self.start(wo, Decimal(0), 86400, ""))
        self.time_passes(pause)
        return str(self.start(wo, Decimal(0), 30, "")) or first

    @rule(wo=WORK_ORDERS, costs=st.lists(CENTS, min_size=2, max_size=4))
    def learn(self, wo: str, costs: list[Decimal]) -> None:
        """Successes in a row, and then an ask that names no amount."""
        for cost in costs:
            self.finish(self.start(wo, Decimal(0), 30, ""), cost / 10, "success")
        self.start(wo, None, 30, "")

    @precondition(lambda self: not self.ledger.feature_on)
    @rule()
    def switch_the_feature_on(self) -> None:
        features.change("digest", {"enabled": True}, reason="test", by="ops")
        self.ledger.feature_on = True

    @rule()
    def expire(self) -> None:
        self.ledger.reap()
        tasks.expire_leases()

    @rule(wo=WORK_ORDERS)
    def suspend_or_resume(self, wo: str) -> None:
        if wo in self.ledger.suspended:
            directory.resume(wo, by="ops", reason="test")
            self.ledger.suspended.discard(wo)
        else:
            directory.suspend(wo, by="ops", reason="test")
            self.ledger.suspended.add(wo)

    @rule(
        wo=WORK_ORDERS,
        runs_cap=st.integers(1, 12),
        usd_cap=st.sampled_from([50, 100, 200]) | st.integers(1, 250),
    )
    def change_caps(self, wo: str, runs_cap: int, usd_cap: int) -> None:
        caps = (runs_cap, Decimal(usd_cap) / 100)
        set_caps(WorkOrder.objects.get(pk=wo), *caps)
        self.ledger.caps[wo] = (*caps, self.ledger.caps[wo][2])

    @rule(seconds=st.sampled_from([25, 55, 300, 61 * 60, 12 * 3600]))
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
        assert not list(counters.differences())


@pytest.fixture
def settable_clock(committed_db: str) -> Iterator[None]:
    install_clock()
    yield
    connection.close()


def test_the_service_agrees_with_the_model(settable_clock: None) -> None:
    run_state_machine_as_test(
        Agreement,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            suppress_health_check=list(HealthCheck),
        ),
    )
