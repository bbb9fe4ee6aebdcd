"""Step 1: is it real? Above the baseline, for hours, beyond what is usual, and since when."""

from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from statistics import median

from opslog.triage.effects import PARTS, Effects, Ledger
from opslog.triage.normal import DAY, NEIGHBOURS, baseline, expected, expected_window, normal_before
from opslog.triage.panel import Panel, Running, window
from opslog.triage.thresholds import (
    LARGEST_SCATTER,
    LEAST_HISTORY,
    LEAST_HISTORY_LONG,
    LEAST_SHARE,
    LEAST_TOKEN_REQUESTS,
    LONG_LOOK,
    LOOKS,
    PART_OF_A_THIRD,
    PART_SCATTERS,
    PARTS_OF_A_LOOK,
    RISE,
    SHORT_LOOK,
    STABLE_HOURS,
    TOKEN_SCATTERS,
    VOLUME_OF_A_THIRD,
    VOLUME_SHARE,
    VOLUME_SHORT,
)

MAD_TO_DEVIATION = 1.4826
# The median alone takes a feature that is calm most of the time for a calm one: the value that one
# hour in ten exceeds counts too, as that many deviations.
TAIL, TAIL_DEVIATIONS = 0.9, 1.64


@dataclass(frozen=True, slots=True)
class Rise:
    """What a look found: `part` of the cost is up; `ratio` is cost to baseline in the look."""

    look: int
    part: str  # volume, price, input, output, hidden, tool
    gain: float  # what the part adds to the cost without it: 0.35 is 35 %
    ratio: float


def scatter(values: list[float]) -> float:
    """A robust standard deviation: an old incident among the values does not widen it."""
    if not values:
        return 0.0
    middle = median(values)
    return MAD_TO_DEVIATION * median(abs(value - middle) for value in values)


def thirds(start: int, end: int) -> list[tuple[int, int]]:
    edges = [start + (end - start) * n // PARTS_OF_A_LOOK for n in range(PARTS_OF_A_LOOK + 1)]
    return list(pairwise(edges))


def volume_scatter(volume: Running, look: int, until: int) -> float:
    """How much the volume of `look` hours strays from the same hours of the other days (log)."""
    found = []
    for end in range(until, look - 1, -max(1, look // 3)):
        start = end - look
        others = []
        for shift in range(-(until // DAY), until // DAY + 1):
            low, high = start + shift * DAY, end + shift * DAY
            if shift and low >= 0 and high <= until:
                low, high = max(0, low - NEIGHBOURS), min(until, high + NEIGHBOURS)
                others.append((volume[high] - volume[low]) / (high - low) * look)
        own = volume[end] - volume[start]
        if len(others) > 1 and own > 0 and median(others) > 0:
            found.append(log(own / median(others)))
    return scatter(found)


def part_scatter(ledger: Ledger, part: str, feature: str, look: int, until: int) -> float:
    """How much a part of a feature's cost scatters over `look` hours, in dollars per hour of look,
    before the spike."""
    found = []
    for end in range(until, look - 1, -max(1, look // 2)):
        effects = ledger.of(feature, end - look, end)
        found.append(effects.part(part) if effects else 0.0)
    if not found:
        return 0.0
    ranked = sorted(abs(value) for value in found)
    return max(scatter(found), ranked[int(TAIL * (len(ranked) - 1))] / TAIL_DEVIATIONS)


def significant(
    ledger: Ledger, effects: Effects, part: str, end: int, look: int, until: int, *, least: float
) -> float:
    """The dollars of a part, or 0 where they are within what it usually scatters by.

    Below `least` nothing is worth the looking.
    """
    dollars = effects.part(part)
    if dollars > least and part in ("input", "output"):
        if effects.requests < LEAST_TOKEN_REQUESTS:
            return 0.0
        # Fewer but longer requests are another mix of work, not a spike: what counts is how far
        # the feature costs more than it did.
        base = expected_window(ledger.cost(effects.feature), end - look, end, end - look)
        dollars = min(dollars, effects.cost - base)
    if dollars <= least:
        return 0.0
    beyond = TOKEN_SCATTERS if part in ("input", "output") else PART_SCATTERS
    noise = ledger.sampling(part, effects.feature, effects.requests)
    if dollars <= beyond * noise:
        return 0.0
    usual = part_scatter(ledger, part, effects.feature, look, until)
    return dollars if dollars > beyond * (usual**2 + noise**2) ** 0.5 else 0.0


def rises(panel: Panel, *, floor_usd_per_hour: float) -> list[Rise]:
    """What is up at the end of the panel, by look; nothing where all is quiet."""
    now = panel.hours
    ledgers: dict[int, Ledger] = {}
    found: list[Rise] = []
    for look in LOOKS:
        start = now - look
        if start < (LEAST_HISTORY if look <= SHORT_LOOK else LEAST_HISTORY_LONG):
            break
        cost, base = window(panel.cost, start, now), baseline(panel, start, now, start)
        if base.usd <= 0 or cost < RISE * base.usd or cost - base.usd < floor_usd_per_hour * look:
            continue
        if not all(
            window(panel.cost, low, now) >= PART_OF_A_THIRD * baseline(panel, low, now, start).usd
            for low in (thirds(start, now)[-1][0], now - STABLE_HOURS)
        ):
            continue  # it is over
        until = now - (SHORT_LOOK if look <= SHORT_LOOK else LONG_LOOK)
        if until < LEAST_HISTORY:
            until = start
        ledger = ledgers.get(until)
        if ledger is None:
            ledger = ledgers[until] = Ledger(panel, normal_before(panel, until))
        ratio = cost / base.usd
        found.extend(_parts_up(ledger, look, ratio))
        up = _volume_up(ledger, look, ratio, base.season)
        if up:
            found.append(up)
    return found


def _parts_up(ledger: Ledger, look: int, ratio: float) -> list[Rise]:
    now, until = ledger.panel.hours, ledger.normal.until
    start = now - look
    parts = ledger.parts(start, now)
    cost = sum(effects.cost for effects in parts)
    found = []
    for part in PARTS:
        features, dollars = [], 0.0
        for effects in parts:
            own = significant(ledger, effects, part, now, look, until, least=LEAST_SHARE * cost)
            if own:
                features.append(effects.feature)
                dollars += own
        if not dollars or dollars < (RISE - 1) * (cost - dollars):
            continue
        least = VOLUME_OF_A_THIRD if part == "hidden" else PART_OF_A_THIRD
        for low, high in thirds(start, now):
            third = [e for name in features if (e := ledger.of(name, low, high))]
            own = sum(e.part(part) for e in third)
            if own < (least - 1) * (window(ledger.panel.cost, low, high) - own):
                break
        else:
            found.append(Rise(look, part, dollars / max(cost - dollars, 1e-12), ratio))
    return found


def _volume_up(ledger: Ledger, look: int, ratio: float, season: float) -> Rise | None:
    now, until = ledger.panel.hours, ledger.normal.until
    start = now - look
    volume = ledger.volume()
    base = season * expected_window(volume, start, now, start)
    if base <= 0:
        return None
    growth = min(sum(effects.volume for effects in ledger.parts(start, now)) / base, ratio)
    if growth < RISE:
        return None
    usual = min(volume_scatter(volume, look, until), LARGEST_SCATTER)
    if log(growth) < VOLUME_SHARE * usual + VOLUME_SHORT / sqrt(look):
        return None
    for low, high in thirds(start, now):
        for sums in (volume, ledger.panel.cost):
            usual = season * expected_window(sums, low, high, start)
            if window(sums, low, high) < VOLUME_OF_A_THIRD * usual:
                return None
    return Rise(look, "volume", growth - 1, ratio)


def began(ledger: Ledger, rise: Rise) -> int:
    """The hour in which it began: where the sum of what each later hour has beyond half of the
    gain is largest."""
    now = ledger.panel.hours
    until = ledger.normal.until
    volume = ledger.volume()
    best, total, found = 0.0, 0.0, now - rise.look
    for hour in range(now - 1, max(LEAST_HISTORY, now - 2 * LONG_LOOK) - 1, -1):
        base = max(expected(volume, hour, min(hour, until)), 1e-12)
        if rise.part == "volume":
            own = window(volume, hour, hour + 1) - base
        else:
            own = sum(effects.part(rise.part) for effects in ledger.parts(hour, hour + 1))
        total += min(own / base, 2 * rise.gain) - rise.gain / 2
        if total > best:
            best, found = total, hour
    return found
