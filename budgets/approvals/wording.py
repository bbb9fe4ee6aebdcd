"""How a change is told, to people and in events."""

from collections.abc import Mapping
from decimal import Decimal

from budgets.models import Measure

FIELD_NAMES = {
    Measure.RUNS_PER_DAY: "runsPerDay",
    Measure.USD_PER_DAY: "usdPerDay",
    Measure.MAX_CONCURRENT_RUNS: "maxConcurrentRuns",
}


def number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def changes_of(lines: Mapping[str, tuple[Decimal, Decimal]]) -> dict[str, dict[str, int | float]]:
    return {
        FIELD_NAMES[Measure(measure)]: {"old": number(old), "new": number(new)}
        for measure, (old, new) in lines.items()
    }


def told(lines: Mapping[str, tuple[Decimal, Decimal]]) -> str:
    return ", ".join(
        f"{Measure(measure).label} {number(old)} → {number(new)}"
        for measure, (old, new) in lines.items()
    )
