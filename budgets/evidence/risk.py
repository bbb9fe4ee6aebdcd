"""What the figures of a work order mean: classes, bands, red flags. Pure.

Thresholds are those that operations have worked with: each is a constant here, shown with its flag,
and exact at its boundary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from statistics import median
from typing import Any, Final

SAFE_BELOW_USD: Final = Decimal(2)
CAUTION_UP_TO_USD: Final = Decimal(10)

RUN_CAP_CLASSES: Final = ((100, "low"), (500, "medium"), (1000, "high"))
HIGHEST_CLASS: Final = "critical"

BURST_RUNS: Final = 50  # of one agent in an hour of the clock; more is a burst
EXPENSIVE_AVERAGE_USD: Final = Decimal("0.10")
EXPENSIVE_RUN_USD: Final = Decimal(1)
SPIKE_FACTOR: Final = 2
SPIKE_DAYS: Final = 7  # days that are held against those before them
SPIKE_NEEDS_DAYS: Final = 3  # used days before, else there is no normal


def run_cap_class(runs_per_day: int) -> str:
    """low (to 100), medium (to 500), high (to 1000), critical (above)."""
    return next((name for most, name in RUN_CAP_CLASSES if runs_per_day <= most), HIGHEST_CLASS)


def risk_band(usd_today: Decimal) -> str:
    """safe (under $2 today), caution ($2 to $10, both included), escalate (over $10)."""
    if usd_today < SAFE_BELOW_USD:
        return "safe"
    return "caution" if usd_today <= CAUTION_UP_TO_USD else "escalate"


@dataclass(frozen=True, slots=True)
class Flag:
    """Something that needs an answer. `rows` are address parameters of the list of runs that show
    the rows behind it and no others, without the beginning of the period and the work order."""

    code: str
    said: str
    figures: Mapping[str, Any]
    rows: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spike:
    """A day's dollars against the median of the used days before it."""

    day: date
    usd: Decimal
    normal_usd: Decimal


@dataclass(frozen=True, slots=True)
class Burst:
    """The most runs that one agent started in an hour of the clock (UTC), and that hour."""

    agent: str
    runs: int
    since: str
    until: str


def spikes(use: Sequence[tuple[date, Decimal]]) -> list[Spike]:
    """The days of the last SPIKE_DAYS that spent more than twice their normal, worst first.

    Normal is the median of the days before it that spent anything: an outlier does not move it,
    and neither do idle weekends. `use` is by day, oldest first, its last day today.
    """
    found = []
    for at in range(max(0, len(use) - SPIKE_DAYS), len(use)):
        before = [usd for _, usd in use[:at] if usd]
        if len(before) < SPIKE_NEEDS_DAYS:
            continue
        day, usd = use[at]
        normal = median(before)
        if usd > SPIKE_FACTOR * normal:
            found.append(Spike(day, usd, normal))
    return sorted(found, key=lambda spike: spike.usd / spike.normal_usd, reverse=True)


def red_flags(
    *,
    bursts: Sequence[Burst],
    unknown_agents: Mapping[str, int],
    ended: int,
    errors: int,
    average_usd: Decimal | None,
    max_usd: Decimal | None,
    use: Sequence[tuple[date, Decimal]],
) -> list[Flag]:
    """The red flags that these figures raise, in a fixed order. Dollars are per run."""
    flags = [
        Flag(
            "burst",
            f"{burst.agent} started {burst.runs} runs in an hour",
            {"agent": burst.agent, "runs": burst.runs, "limit": BURST_RUNS},
            {
                "agent": burst.agent,
                "started_at__gte": burst.since,
                "started_at__lt": burst.until,
            },
        )
        for burst in bursts
        if burst.runs > BURST_RUNS
    ]
    if unknown_agents:
        names = sorted(unknown_agents, key=lambda name: (-unknown_agents[name], name))
        flags.append(
            Flag(
                "unknown_agents",
                f"{sum(unknown_agents.values())} runs of agents that were not registered",
                {"agents": names, "runs": sum(unknown_agents.values())},
                {"known": "no"},
            )
        )
    if 2 * errors > ended:
        flags.append(
            Flag(
                "errors",
                f"{errors} of {ended} ended runs failed",
                {"errors": errors, "ended": ended},
                {"status__exact": "error"},
            )
        )
    if average_usd is not None and average_usd > EXPENSIVE_AVERAGE_USD:
        flags.append(
            Flag(
                "expensive_average",
                f"a run costs more than ${EXPENSIVE_AVERAGE_USD} on average",
                {"average_usd": average_usd, "limit_usd": EXPENSIVE_AVERAGE_USD},
                {"cost__gt": str(EXPENSIVE_AVERAGE_USD)},
            )
        )
    if max_usd is not None and max_usd > EXPENSIVE_RUN_USD:
        flags.append(
            Flag(
                "expensive_run",
                f"a run cost more than ${EXPENSIVE_RUN_USD:.2f}",
                {"max_usd": max_usd, "limit_usd": EXPENSIVE_RUN_USD},
                {"cost__gt": str(EXPENSIVE_RUN_USD)},
            )
        )
    flags += [
        Flag(
            "spike",
            f"{spike.day} spent more than twice its normal",
            {"day": spike.day, "usd": spike.usd, "normal_usd": spike.normal_usd},
            {"day": spike.day.isoformat()},
        )
        for spike in spikes(use)
    ]
    return flags
