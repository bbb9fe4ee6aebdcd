"""Thirty days, and today so far, of runs that could have happened: drawn from real requests, held
to the limits.

Pure and deterministic: the same requests, days and seed give the same history. The limits of a
moment are held as admission holds them, so the history is one that the service could have written.
"""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import cycle

from budgets.demo.cast import KNOWN_AGENTS, Job, Raise
from budgets.demo.replay.mapping import output_limit
from budgets.demo.replay.trace import TraceRequest

LEASE_SECONDS = 900
DECIDED = time(15, 20)  # UTC: when the cap changes of the past were signed
DEFAULT_RUNS, DEFAULT_USD = 100, Decimal("2.00")
EXPIRED, CANCELLED, OVERRUN = 0.008, 0.012, 0.01

# model, input tokens, output tokens → dollars
PriceOf = Callable[[str, int, int], Decimal]


@dataclass(slots=True)
class PastRun:
    id: uuid.UUID
    job: Job
    agent: str
    key: str
    status: str
    reserved_usd: Decimal
    cost: Decimal
    started_at: datetime
    finished_at: datetime
    input_tokens: int
    output_tokens: int
    source_ip: str
    runs_today: int
    usd_today: Decimal

    @property
    def day(self) -> date:
        return self.started_at.date()

    @property
    def agent_known(self) -> bool:
        return self.agent in KNOWN_AGENTS


@dataclass(frozen=True, slots=True)
class PastRefusal:
    """`usd_today` is what was settled and reserved when it was refused."""

    job: Job
    agent: str
    key: str
    at: datetime
    denial: str
    cap: str
    estimated_usd: Decimal
    runs_today: int
    usd_today: Decimal
    source_ip: str


@dataclass(slots=True)
class History:
    runs: list[PastRun] = field(default_factory=list)
    refusals: list[PastRefusal] = field(default_factory=list)


def history(
    jobs: Sequence[Job],
    requests: Sequence[TraceRequest],
    *,
    days: Sequence[date],
    until: datetime,
    price: PriceOf,
    seed: int = 20231116,
) -> History:
    """`days` in order, none after the day of `until`; nothing starts at that moment or later."""
    past = History()
    rng = random.Random(seed)
    stock = cycle(requests)
    for day in days:
        age = (until.date() - day).days
        for job in jobs:
            if job.suspended_days_ago is not None and age < job.suspended_days_ago:
                continue
            _play_day(past, job, day, until.date(), rng, stock, price)
    past.runs = sorted(
        (run for run in past.runs if run.started_at < until), key=lambda run: run.started_at
    )
    past.refusals = sorted(
        (refusal for refusal in past.refusals if refusal.at < until), key=lambda each: each.at
    )
    return past


def caps_at(job: Job, at: datetime, today: date) -> tuple[int, Decimal]:
    """The caps that were in force at a moment: a raise holds from when it was decided."""
    runs, dollars = DEFAULT_RUNS, DEFAULT_USD
    for change in job.raised:
        if at >= decided_at(change, today):
            runs, dollars = change.runs_per_day, change.usd_per_day
    return runs, dollars


def decided_at(change: Raise, today: date) -> datetime:
    return datetime.combine(today - timedelta(days=change.days_ago), DECIDED, UTC)


def _play_day(
    past: History,
    job: Job,
    day: date,
    today: date,
    rng: random.Random,
    stock: Iterator[TraceRequest],
    price: PriceOf,
) -> None:
    todays: list[PastRun] = []
    for at in _asks(job, day, rng):
        pieces = [next(stock) for _ in range(rng.randint(*job.requests))]
        given = sum(piece.input_tokens for piece in pieces)
        made = sum(piece.output_tokens for piece in pieces)
        estimate = price(job.model, given, output_limit(made))
        agent = job.agents[min(int(rng.expovariate(1.2)), len(job.agents) - 1)]
        address = f"10.20.{len(agent)}.{20 + sum(agent.encode()) % 200}"
        key = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        used = sum(
            (run.cost if run.finished_at <= at else run.reserved_usd for run in todays), Decimal(0)
        )
        still_open = sum(run.finished_at > at for run in todays)
        caps = caps_at(job, at, today)
        refused = _refusal(job, caps, len(todays), used + estimate, still_open)
        if refused:
            past.refusals.append(
                PastRefusal(job, agent, key, at, *refused, estimate, len(todays), used, address)
            )
            continue
        run = PastRun(
            id=_time_ordered_id(at, rng),
            job=job,
            agent=agent,
            key=key,
            status="success",
            reserved_usd=estimate,
            cost=price(job.model, given, made),
            started_at=at,
            finished_at=at + timedelta(seconds=rng.uniform(job.seconds / 8, job.seconds)),
            input_tokens=given,
            output_tokens=made,
            source_ip=address,
            runs_today=len(todays) + 1,
            usd_today=used + estimate,
        )
        _fate(run, rng)
        todays.append(run)
    past.runs += todays


def _asks(job: Job, day: date, rng: random.Random) -> list[datetime]:
    share = job.weekend if day.weekday() >= 5 else 1.0
    count = round(job.runs * share * rng.uniform(0.75, 1.25))
    first, last = job.hours
    midnight = datetime.combine(day, time(), UTC)
    # Runs end on the day they start, so that the history ends with its last day.
    seconds = (last - first) * 3600 - (LEASE_SECONDS + 60 if last == 24 else 0)
    return sorted(
        midnight + timedelta(seconds=first * 3600 + rng.betavariate(2, 2) * seconds)
        for _ in range(count)
    )


def _refusal(
    job: Job, caps: tuple[int, Decimal], runs: int, dollars: Decimal, still_open: int
) -> tuple[str, str] | None:
    """The denial and the cap, in the order in which admission checks them."""
    if still_open >= job.concurrent:
        return "concurrency", str(job.concurrent)
    if runs + 1 > caps[0]:
        return "runs_per_day", str(caps[0])
    if dollars > caps[1]:
        return "usd_per_day", str(caps[1])
    return None


def _fate(run: PastRun, rng: random.Random) -> None:
    """Most runs succeed; some fail, some are cancelled, a few never report or cost too much."""
    spin = rng.random()
    if spin < EXPIRED:
        run.status, run.cost = "expired", run.reserved_usd
        run.finished_at = run.started_at + timedelta(seconds=LEASE_SECONDS)
    elif spin < EXPIRED + CANCELLED:
        run.status, run.cost = "cancelled", Decimal(0)
    elif spin < EXPIRED + CANCELLED + OVERRUN:
        run.cost = (run.reserved_usd * Decimal("1.15")).quantize(Decimal("0.000001"))
    elif spin < EXPIRED + CANCELLED + OVERRUN + run.job.errors:
        run.status = "error"


def _time_ordered_id(at: datetime, rng: random.Random) -> uuid.UUID:
    milliseconds = int(at.timestamp() * 1000)
    number = (milliseconds << 80) | (7 << 76) | (rng.getrandbits(12) << 64)
    return uuid.UUID(int=number | (0b10 << 62) | rng.getrandbits(62))
