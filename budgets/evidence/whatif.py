"""The asks of past days, decided again under other caps. Pure: plain data in, plain data out.

Money is in whole nano-dollars and time in microseconds since 2000 (UTC), both as int: a
hundred thousand asks are replayed in a fraction of a second. What comes out is Decimal again.

The replay goes through each day in the order of time, as admission did. Where the runs of a day are
given, each reserves when it starts and is settled when it ended, and what is refused leaves its
room to the next. Where they are not, a refusal tells what was used at its moment, and what the
replay used more is added to that: this is exact as long as no run that was admitted could have been
displaced, and the days on which one could are named (`doubtful`). Decided here:

- A refused ask that now runs is *admitted* at its estimate and then *counted* at estimate × rate,
  where the rate is what the work order's runs cost of what they had reserved. It is settled at
  once: how long it would have run, nobody knows, and the concurrency limit keeps few open.
- Retries are one ask: once it runs, its later attempts and its own later run fall away, for the
  48 hours that an idempotency key is kept. Its real cost, where there is one, replaces the guess.
  An attempt without a key is an ask of its own.
- A run that was admitted may find no room now; it is displaced, and costs nothing.
- Other limits (concurrency, the budget of all, addresses) are not decided again, so what would
  have run is an upper bound. An extension of a run that runs is granted as it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from heapq import heappop, heappush
from typing import Final, NamedTuple

EPOCH: Final = date(2000, 1, 1)
DAY: Final = 24 * 3600 * 1_000_000
NEVER: Final = (1 << 63) - 1  # PostgreSQL's infinity
KEY_KEPT: Final = 48 * 3600 * 1_000_000


class Caps(NamedTuple):
    """Both caps in force; `usd` in nano-dollars."""

    runs: int
    usd: int


class Period(NamedTuple):
    """From `since` on these caps were in force, until the next period begins."""

    since: int
    caps: Caps


class Attempt(NamedTuple):
    """A start that was refused for a cap: its idempotency key or "", its estimate, and what was
    used at that moment by the record."""

    at: int
    key: str
    estimate: int
    runs: int
    used: int


class Retried(NamedTuple):
    """A run that was admitted and has the key of an attempt."""

    at: int
    key: str
    cost: int


@dataclass(frozen=True, slots=True)
class Columns:
    """The runs of a day by start; the four columns belong together. A run that has not ended has
    `ends` NEVER and its reservation as `costs`. `extensions` has (when, how much) by the place of
    the run, which are part of its `reserved`."""

    starts: Sequence[int]
    ends: Sequence[int]
    reserved: Sequence[int]
    costs: Sequence[int]
    extensions: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DayLog:
    """What was asked for on one day: the number of runs, what they cost, the most that they could
    have counted for at any moment (each the larger of its cost and its reservation), and by time
    what was refused and what was asked for again."""

    day: date
    runs: int = 0
    spent: int = 0
    most: int = 0
    attempts: Sequence[Attempt] = ()
    retried: Sequence[Retried] = ()
    columns: Columns | None = None


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """A day in the replay. Dollars; `would_run` were refused and now run, `displaced` ran."""

    day: date
    runs: int
    usd: Decimal
    would_run: int
    displaced: int


@dataclass(frozen=True, slots=True)
class PeriodOutcome:
    """The replay of all days. `sooner` is the part of `would_run` that ran on a later attempt
    anyway; `would_cost_usd` what `would_run` cost; `more_usd` the difference to what was spent.
    `doubtful` are days whose runs were not given and on which some could have been displaced."""

    days: tuple[DayOutcome, ...]
    would_run: int
    sooner: int
    still_refused: int
    displaced: int
    would_cost_usd: Decimal
    usd: Decimal
    more_usd: Decimal
    worst_day: DayOutcome | None
    doubtful: tuple[date, ...]


def dollars(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-9)


def nanos(amount: Decimal) -> int:
    return int(amount.scaleb(9))


def periods_of(
    base: Sequence[Period], grants: Iterable[tuple[str, int, int, int]]
) -> tuple[Period, ...]:
    """The caps in force over time: the larger of the base and the live grants.

    `base` has the base caps, oldest first; a grant is (`runs` or `usd`, from, until, value).
    """
    given = tuple(grants)
    moments = {each.since for each in base} | {at for grant in given for at in grant[1:3]}
    found = []
    for at in sorted(moment for moment in moments if moment >= base[0].since):
        caps = next(each.caps for each in reversed(base) if each.since <= at)
        live = [(what, value) for what, since, until, value in given if since <= at < until]
        runs = max([caps.runs, *(value for what, value in live if what == "runs")])
        usd = max([caps.usd, *(value for what, value in live if what == "usd")])
        found.append(Period(at, Caps(runs, usd)))
    return tuple(found)


def replay(
    days: Iterable[DayLog], periods: Sequence[Period], *, rate: tuple[int, int] = (1, 1)
) -> PeriodOutcome:
    """Decide every ask again, day after day, under the caps in force by `periods` (oldest first,
    the first of them before all days). `rate` is (cost, reservation) of settled runs."""
    book = _Book(rate if rate[1] else (1, 1))
    for log in days:
        day = _Day(log.day, log.runs, log.spent)
        book.days.append(day)
        book.recorded += log.spent
        in_force = _in_force(log, periods)
        if log.columns is None:
            _by_record(log, day, in_force, book)
        else:
            _run_by_run(log, log.columns, day, in_force, book)
    return book.outcome()


@dataclass(slots=True)
class _Day:
    day: date
    runs: int
    nanos: int
    would_run: int = 0
    displaced: int = 0


@dataclass(slots=True)
class _Ran:
    """A refused ask that runs in the replay: when, on which day, at what guessed cost."""

    at: int
    on: _Day
    guess: int


@dataclass(slots=True)
class _Book:
    """What a day leaves to the next: the asks that ran, and the sums."""

    rate: tuple[int, int]
    days: list[_Day] = field(default_factory=list)
    ran: dict[str, _Ran] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    keyless: int = 0
    sooner: int = 0
    would_cost: int = 0
    recorded: int = 0
    doubtful: list[date] = field(default_factory=list)

    def ran_lately(self, key: str, at: int) -> "_Ran | None":
        ran = self.ran.get(key)
        return ran if ran is not None and at - ran.at <= KEY_KEPT else None

    def admit(self, attempt: Attempt, day: _Day) -> int:
        """Count an attempt as run; returns what it costs."""
        cost = attempt.estimate * self.rate[0] // self.rate[1]
        day.runs += 1
        day.nanos += cost
        day.would_run += 1
        self.would_cost += cost
        if attempt.key:
            self.ran[attempt.key] = _Ran(attempt.at, day, cost)
            self.waiting.discard(attempt.key)
        return cost

    def refuse(self, attempt: Attempt) -> None:
        if attempt.key:
            self.waiting.add(attempt.key)
        else:
            self.keyless += 1

    def met(self, ran: _Ran, day: _Day, cost: int) -> None:
        """The real run of an ask that ran earlier in the replay: there with its real cost."""
        day.runs -= 1
        day.nanos -= cost
        ran.on.nanos += cost - ran.guess
        self.would_cost += cost - ran.guess
        self.sooner += 1

    def displace(self, day: _Day, cost: int) -> None:
        day.runs -= 1
        day.nanos -= cost
        day.displaced += 1

    def outcome(self) -> PeriodOutcome:
        days = tuple(
            DayOutcome(day.day, day.runs, dollars(day.nanos), day.would_run, day.displaced)
            for day in self.days
        )
        total = sum(day.nanos for day in self.days)
        used = [day for day in days if day.runs]
        return PeriodOutcome(
            days=days,
            would_run=sum(day.would_run for day in days),
            sooner=self.sooner,
            still_refused=self.keyless + len(self.waiting),
            displaced=sum(day.displaced for day in days),
            would_cost_usd=dollars(self.would_cost),
            usd=dollars(total),
            more_usd=dollars(total - self.recorded),
            worst_day=max(used, key=lambda day: (day.usd, day.runs), default=None),
            doubtful=tuple(self.doubtful),
        )


def _in_force(log: DayLog, periods: Sequence[Period]) -> list[Period]:
    """The periods of that day, the first of them in force when it begins."""
    begins = (log.day - EPOCH).days * DAY
    first = max(n for n, each in enumerate(periods) if n == 0 or each.since <= begins)
    return [each for n, each in enumerate(periods) if n >= first and each.since < begins + DAY]


def _by_record(log: DayLog, day: _Day, periods: Sequence[Period], book: _Book) -> None:
    """Decide each attempt by the use that its refusal recorded, and what the replay used more."""
    more_runs = more_used = most_runs = most_used = 0
    caps, coming = periods[0].caps, list(periods[1:])
    steps: list[Attempt | Retried] = [*log.attempts, *log.retried]
    for step in sorted(steps, key=lambda step: step.at):
        ran = book.ran_lately(step.key, step.at) if step.key else None
        if isinstance(step, Retried):
            book.waiting.discard(step.key)
            if ran is not None:
                book.met(ran, day, step.cost)
                more_runs -= 1
                more_used -= step.cost
            continue
        if ran is not None:
            continue
        while coming and coming[0].since <= step.at:
            caps = coming.pop(0).caps
        runs, used = step.runs + more_runs, step.used + more_used
        if runs < caps.runs and used < caps.usd and used + step.estimate <= caps.usd:
            more_runs += 1
            more_used += book.admit(step, day)
            most_runs, most_used = max(most_runs, more_runs), max(most_used, more_used)
        else:
            book.refuse(step)
    if any(
        log.runs + most_runs > each.caps.runs or log.most + most_used > each.caps.usd
        for each in periods
    ):
        book.doubtful.append(log.day)


def _run_by_run(
    log: DayLog, columns: Columns, day: _Day, periods: Sequence[Period], book: _Book
) -> None:
    starts, ends, reserved, costs = columns.starts, columns.ends, columns.reserved, columns.costs
    extensions = columns.extensions
    keys = {run.at: run.key for run in log.retried}
    attempts = [*log.attempts, Attempt(NEVER, "", 0, 0, 0)]
    coming = [*periods[1:], Period(NEVER, periods[-1].caps)]
    most_runs, most_usd = periods[0].caps
    runs = used = nth = period = 0
    next_attempt, next_period = attempts[0].at, coming[0].since
    settlements: list[tuple[int, int]] = [(NEVER, 0)]
    for place in [*range(len(starts)), -1]:
        start = NEVER if place < 0 else starts[place]
        while next_attempt < start:
            attempt = attempts[nth]
            nth += 1
            next_attempt = attempts[nth].at
            while next_period <= attempt.at:
                most_runs, most_usd = coming[period].caps
                period += 1
                next_period = coming[period].since
            while settlements[0][0] <= attempt.at:
                used += heappop(settlements)[1]
            if attempt.key and book.ran_lately(attempt.key, attempt.at):
                continue
            if runs < most_runs and used < most_usd and used + attempt.estimate <= most_usd:
                runs += 1
                used += book.admit(attempt, day)
            else:
                book.refuse(attempt)
        if place < 0:
            break
        while next_period <= start:
            most_runs, most_usd = coming[period].caps
            period += 1
            next_period = coming[period].since
        while settlements[0][0] <= start:
            used += heappop(settlements)[1]
        holds, cost = reserved[place], costs[place]
        if start in keys and (ran := book.ran_lately(keys[start], start)):
            book.met(ran, day, cost)
            continue
        more = extensions.get(place, ()) if extensions else ()
        for _, amount in more:
            holds -= amount
        if runs >= most_runs or used >= most_usd or used + holds > most_usd:
            book.displace(day, cost)
            continue
        if start in keys:
            book.waiting.discard(keys[start])
        runs += 1
        used += holds
        for extended, amount in more:
            heappush(settlements, (extended, amount))
        if ends[place] != NEVER:
            heappush(settlements, (ends[place], cost - reserved[place]))
