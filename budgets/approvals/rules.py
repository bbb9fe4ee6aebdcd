"""Approval rules, as pure functions of plain data.

A rule says which slots must be filled when the resulting effective cap of a measure lies in its
interval, both ends included. Values come in whole cents and whole runs, so intervals have no gaps
between 9.99 and 10.00, or between 999 and 1000.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

LOWEST_GROUP = "operations"  # its slot falls away where a higher group signs anyway
CENT = Decimal("0.01")
# How often each window of a shared limit fits into a day, so what it lets through in one.
TIMES_A_DAY = {
    "rolling_minute": Decimal(24 * 60),
    "minute": Decimal(24 * 60),
    "rolling_hour": Decimal(24),
    "hour": Decimal(24),
    "day": Decimal(1),
    "month": Decimal(1) / 30,
}


@dataclass(frozen=True, slots=True)
class Rule:
    measure: str
    minimum: Decimal
    maximum: Decimal | None
    slots: Mapping[str, int]

    def covers(self, value: Decimal) -> bool:
        return self.minimum <= value and (self.maximum is None or value <= self.maximum)


def daily_equivalent(amount: Decimal, window: str) -> Decimal:
    """What a limit in dollars over this window would let through in a day, in whole cents, rounded
    up: so that a boundary is never slipped under. A month has thirty days."""
    return (amount * TIMES_A_DAY[window]).quantize(CENT, rounding=ROUND_CEILING)


class NoRule(LookupError):
    """No rule covers a value: nobody could approve it."""


def slots_for(rules: Iterable[Rule], raised: Mapping[str, Decimal]) -> dict[str, int]:
    """The slots (group → people) that must all be filled for these resulting caps.

    Several measures: the union, where an operations slot falls away if a higher one is there.
    Raises NoRule for a value that no rule covers.
    """
    rules = tuple(rules)
    chosen = []
    for measure, value in raised.items():
        rule = next((r for r in rules if r.measure == measure and r.covers(value)), None)
        if rule is None or not rule.slots:
            raise NoRule(f"no approval rule covers {measure} = {value}")
        chosen.append(rule)
    # A rule that asks operations beside others means it; one that asks operations alone is
    # covered by whoever stands above.
    higher = [rule for rule in chosen if set(rule.slots) != {LOWEST_GROUP}]
    needed: dict[str, int] = {}
    for rule in higher or chosen:
        for group, count in rule.slots.items():
            needed[group] = max(needed.get(group, 0), count)
    return needed


def assign(
    slots: Mapping[str, int], approvers: Sequence[tuple[int, frozenset[str]]]
) -> dict[int, str]:
    """Which approver fills which slot: a largest assignment in which nobody counts twice.

    `approvers` are (id, groups). Somebody in two of the groups is put where they are needed: a
    plain first-come assignment could block a request that the same people can approve.
    """
    seats = [group for group, count in sorted(slots.items()) for _ in range(count)]
    groups = dict(approvers)
    taken: dict[int, int] = {}  # seat → person

    def place(person: int, tried: set[int]) -> bool:
        for seat, group in enumerate(seats):
            if group not in groups[person] or seat in tried:
                continue
            tried.add(seat)
            if seat not in taken or place(taken[seat], tried):
                taken[seat] = person
                return True
        return False

    for person, _ in approvers:
        place(person, set())
    return {person: seats[seat] for seat, person in taken.items()}


def is_filled(slots: Mapping[str, int], assignment: Mapping[int, str]) -> bool:
    """A request that needs nobody is not filled: a quorum of zero approves nothing."""
    return bool(slots) and len(assignment) == sum(slots.values())
