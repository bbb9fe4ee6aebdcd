"""The ledger in plain Python: what the design says, in as few words as possible."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from math import ceil
from typing import Any

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
GLOBAL_USD = Decimal("2.50")
FEATURE_USD = Decimal("1.50")  # in any 60 minutes
FLOOR_RUNS, LIFT_RUNS = 3, 20
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
    spent: list[tuple[datetime, Decimal, str]] = field(default_factory=list)  # at, dollars, feature
    feature_on: bool = True
    breaker: ModelBreaker = field(default_factory=ModelBreaker)
    ended: list[ModelRun] = field(default_factory=list)  # successes and errors, oldest first

    def of_day(self, wo: str | None, day: Any) -> list[ModelRun]:
        return [r for r in self.runs.values() if r.day == day and wo in (None, r.wo)]

    def used(self, wo: str | None, day: Any) -> Decimal:
        calls = [] if wo else [usd for at, usd, _ in self.spent if at.date() == day]
        return sum((r.held for r in self.of_day(wo, day)), sum(calls, NOTHING))

    def used_of_feature(self) -> Decimal:
        since = self.now - timedelta(minutes=61)
        parts = [part for r in self.runs.values() if r.feature for part in r.parts]
        calls = [usd for at, usd, feature in self.spent if feature and slot(at) > since]
        return sum((part.held for part in parts if slot(part.at) > since), sum(calls, NOTHING))

    def reserves(self, wo: str, usd: Decimal | None) -> Decimal:
        """What an ask for so much, or one that names no amount, reserves: what runs cost that cost
        something or succeeded; a share of the cap until enough succeeded; their median at least."""
        proof = [r for r in self.ended if r.wo == wo and (r.cost or r.status == "success")]
        costs = sorted(r.cost or NOTHING for r in proof)

        def at(percent: int) -> Decimal:
            return costs[ceil(Decimal(len(costs) * percent) / 100) - 1] if costs else NOTHING

        if usd is None:
            runs_cap, usd_cap, _ = self.caps[wo]
            share = (usd_cap / runs_cap).quantize(Decimal("1e-9"), ROUND_DOWN)
            known = sum(r.status == "success" for r in proof) >= FLOOR_RUNS
            usd = at(95) if known and at(95) else max(at(95), share)
        return max(usd, at(50)) if len(costs) >= LIFT_RUNS else usd

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
        used = self.used_of_feature()
        if not self.feature_on or used >= FEATURE_USD:
            self.feature_on = False
            return "feature_off"
        return "feature_rate" if used + usd > FEATURE_USD else ""

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

    def spend(self, usd: Decimal, feature: str) -> None:
        self.spent.append((self.now, usd, feature))
        if feature:
            self.switch_off_if_used_up()

    def finish(self, run: str, r: ModelRun, status: str, usd: Decimal) -> None:
        was_running = r.status == "running"
        r.status = status
        if r.settle(usd, self.now) and r.feature:
            self.switch_off_if_used_up()
        if status in ("success", "error"):
            self.ended.append(r)
        if was_running:
            self.breaker.after(run, r, self.now)
