"""The rules of a fake Tollgate: a small part of the service's, in memory, on a clock of its own."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from .values import usd_text

MILLION = Decimal(1_000_000)
CONFIRM_OVER = Decimal(5)


@dataclass(slots=True)
class FakeOrder:
    """A work order: caps a day and at the same time, and prices in dollars per million tokens."""

    id: str
    usd_per_day: Decimal
    runs_per_day: int
    concurrent: int
    prices: Mapping[str, tuple[Decimal, Decimal]]
    suspended: bool = False


@dataclass(slots=True)
class FakeRun:
    """A run as the fake has it on record. `usage` is what it was settled with, if with that."""

    id: str
    order: FakeOrder
    agent: str
    model: str
    reserved_usd: Decimal
    started_at: datetime
    lease: timedelta
    lease_expires_at: datetime
    status: str = "running"
    cost_usd: Decimal = Decimal(0)
    usage: Mapping[str, Any] | None = None
    finished_at: datetime | None = None
    finish_body: Mapping[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        return self.status == "running"

    @property
    def counts_usd(self) -> Decimal:
        return self.reserved_usd if self.is_open else self.cost_usd


class Denied(Exception):
    """A request that the fake refuses."""

    def __init__(
        self,
        status: int,
        denial: str,
        error: str,
        *,
        retry_after: int | None = None,
        reset_at: datetime | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = {"Tollgate-Denial": denial} if denial else {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        if reset_at is not None:
            self.headers["Tollgate-Reset-At"] = reset_at.isoformat()


@dataclass
class FakeState:
    """Every act raises Denied where the service would refuse it."""

    orders: dict[str, FakeOrder] = field(default_factory=dict)
    runs: list[FakeRun] = field(default_factory=list)
    keys: dict[str, tuple[Mapping[str, Any], FakeRun]] = field(default_factory=dict)
    killed: str = ""
    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def midnight(self) -> datetime:
        day = self.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return day + timedelta(days=1)

    def expire(self) -> None:
        """End the leases that are over, at their reservations."""
        for run in self.runs:
            if run.is_open and run.lease_expires_at <= self.now():
                run.status, run.cost_usd = "expired", run.reserved_usd
                run.finished_at = run.lease_expires_at

    def of_today(self, order: FakeOrder) -> list[FakeRun]:
        today = self.now().date()
        return [run for run in self.runs if run.order is order and run.started_at.date() == today]

    def start(self, body: Mapping[str, Any], key: str) -> tuple[FakeRun, bool]:
        """The run, and whether an earlier request got it."""
        if key in self.keys:
            asked, run = self.keys[key]
            if asked != body:
                raise Denied(422, "idempotency_key", "the key was used for another request")
            return run, True
        order, estimate = self.decide(body)
        lease = timedelta(seconds=body.get("leaseSeconds") or 900)
        run = FakeRun(
            id=str(uuid.uuid4()),
            order=order,
            agent=body["agentName"],
            model=body.get("model") or "",
            reserved_usd=estimate,
            started_at=self.now(),
            lease=lease,
            lease_expires_at=self.now() + lease,
        )
        self.runs.append(run)
        if key:
            self.keys[key] = (dict(body), run)
        return run, False

    def decide(self, body: Mapping[str, Any]) -> tuple[FakeOrder, Decimal]:
        """The work order and what a start would reserve, in the order of the service's checks."""
        order = self.orders.get(body["workOrderId"])
        if order is None:
            raise Denied(404, "unknown_work_order", "unknown work order")
        self._check_switches(order)
        today = self.of_today(order)
        if sum(run.is_open for run in self.runs if run.order is order) >= order.concurrent:
            raise Denied(429, "concurrency", "concurrency limit reached", retry_after=5)
        if len(today) >= order.runs_per_day:
            raise self._cap("runs_per_day", "runs/day cap reached")
        estimate = self._estimate(body, order)
        self._check_money(order, estimate or Decimal(0))
        if estimate is None:
            raise Denied(422, "unpriced_model", "the model has no price")
        if estimate > CONFIRM_OVER and not body.get("confirm"):
            raise Denied(428, "confirm", "an estimate this high needs confirm")
        return order, estimate

    def extend(self, run: FakeRun, body: Mapping[str, Any]) -> FakeRun:
        if not run.is_open:
            raise Denied(409, "run_ended", "the run has ended")
        self._check_switches(run.order)
        more = Decimal(str(body.get("additionalUsd") or 0))
        if more:
            self._check_money(run.order, more)
        run.reserved_usd += more
        lease = timedelta(seconds=body["leaseSeconds"]) if body.get("leaseSeconds") else run.lease
        run.lease_expires_at = self.now() + lease
        return run

    def finish(self, run: FakeRun, body: Mapping[str, Any]) -> bool:
        """Whether it was settled like this before."""
        if run.finish_body is not None:
            if run.finish_body != body:
                raise Denied(409, "run_ended", "the run has ended")
            return True
        usage = body.get("usage")
        run.usage = usage
        if usage is None:
            run.cost_usd = Decimal(str(body["costUsd"]))
        else:
            price = price_of(usage, run.order)
            # Without a price: at the reservation, and at what a start reserves that says nothing.
            usual = run.order.usd_per_day / run.order.runs_per_day
            run.cost_usd = max(run.reserved_usd, usual) if price is None else price
        run.status, run.finish_body, run.finished_at = body["status"], dict(body), self.now()
        return False

    def _check_switches(self, order: FakeOrder) -> None:
        if self.killed:
            raise Denied(403, "kill_switch", self.killed)
        if order.suspended:
            raise Denied(409, "suspended", "work order is suspended")

    def _check_money(self, order: FakeOrder, more: Decimal) -> None:
        used = sum((run.counts_usd for run in self.of_today(order)), Decimal(0))
        if used + more > order.usd_per_day or used >= order.usd_per_day:
            raise self._cap("usd_per_day", "budget cap reached")

    def _cap(self, denial: str, error: str) -> Denied:
        return Denied(429, denial, error, retry_after=86400, reset_at=self.midnight())

    @staticmethod
    def _estimate(body: Mapping[str, Any], order: FakeOrder) -> Decimal | None:
        if (cost := body.get("estimatedCostUsd")) is not None:
            return Decimal(str(cost))
        tokens = body.get("estimatedInputTokens"), body.get("estimatedOutputTokens")
        if (model := body.get("model")) and tokens != (None, None):
            usage = {"model": model, "inputTokens": tokens[0] or 0, "outputTokens": tokens[1] or 0}
            price = price_of(usage, order)
            if price is None or price:
                return price
        return order.usd_per_day / order.runs_per_day


def price_of(usage: Mapping[str, Any], order: FakeOrder) -> Decimal | None:
    """Dollars; cached input is as dear as any other here. None where the model has no price."""
    price = order.prices.get(str(usage.get("model")))
    if price is None:
        return None
    per_input, per_output = price
    tokens = int(usage["inputTokens"]), int(usage["outputTokens"])
    return (per_input * tokens[0] + per_output * tokens[1]) / MILLION


def shown(amount: Decimal) -> str:
    """As the service has it: two decimals at least."""
    text = usd_text(amount)
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(2, '0')}"
