"""Every hypothesis side by side: how many dollars of the rise it explains, in which feature.

No checklist: the one that explains most is the cause, and the others are ranked behind it. A part
of the cost counts as far as it exceeds what it usually scatters by. The volume is shared out: what
all features have in common is traffic; what one has beyond that is its dominance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, sqrt
from statistics import median

from opslog.triage.confirm import part_scatter, volume_scatter
from opslog.triage.effects import Effects, Ledger
from opslog.triage.normal import expected_window
from opslog.triage.thresholds import (
    BELIEVED_SCATTERS,
    LARGEST_SCATTER,
    LEAST_REQUESTS,
    LONG_LOOK,
    MISLABELLED,
)

TRAFFIC, DOMINANCE = "traffic_growth", "feature_dominance"
HIDDEN, STORM = "hidden_recompute", "tool_failure_storm"
CONTEXT, OUTPUT, PRICE = "context_bloat", "output_growth", "price_or_model_switch"
NONE = "none"
CAUSES = (TRAFFIC, DOMINANCE, HIDDEN, CONTEXT, OUTPUT, PRICE, STORM)
CAUSE_OF_PART = {
    "price": PRICE,
    "input": CONTEXT,
    "output": OUTPUT,
    "hidden": HIDDEN,
    "tool": STORM,
}


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """`usd` is what it explains of the window's cost, by feature; `tools` for a storm."""

    cause: str
    usd: float
    features: Mapping[str, float]
    tools: Mapping[str, float]

    @property
    def feature(self) -> str | None:
        """The guilty one: None where no one feature is."""
        if self.cause == TRAFFIC or not self.features:
            return None
        return max(self.features, key=lambda name: self.features[name])

    @property
    def tool(self) -> str | None:
        return max(self.tools, key=lambda name: self.tools[name]) if self.tools else None


def believed(ledger: Ledger, effects: Effects, part: str, start: int, end: int) -> float:
    """The dollars of a part beyond its scatter; of tokens, at most what the feature costs more."""
    dollars = effects.part(part)
    if part in ("input", "output"):
        base = expected_window(ledger.cost(effects.feature), start, end, start)
        dollars = min(dollars, effects.cost - base)
    if dollars <= 0:
        return 0.0
    hours = end - start
    look = min(hours, LONG_LOOK)
    usual = part_scatter(ledger, part, effects.feature, look, start) * sqrt(hours / look)
    noise = ledger.sampling(part, effects.feature, effects.requests)
    return max(0.0, dollars - BELIEVED_SCATTERS * sqrt(usual**2 + noise**2))


def hypotheses(ledger: Ledger, start: int, end: int, *, season: float = 1.0) -> list[Hypothesis]:
    """All of them, the one that explains most first. The ledger's normal lies before `start`."""
    parts = ledger.parts(start, end)
    found: dict[str, dict[str, float]] = {cause: {} for cause in CAUSES}
    tools: dict[str, float] = {}
    growth, base = {}, {}
    for effects in parts:
        for part, cause in CAUSE_OF_PART.items():
            dollars = believed(ledger, effects, part, start, end)
            if dollars > 0:
                found[cause][effects.feature] = dollars
                if part == "tool":
                    for tool, own in effects.tools.items():
                        tools[tool] = tools.get(tool, 0.0) + own * dollars / effects.tool
        usual = season * expected_window(ledger.valued(effects.feature), start, end, start)
        base[effects.feature] = usual
        if usual > 0 and effects.requests >= LEAST_REQUESTS:
            growth[effects.feature] = effects.volume / usual
    common = max(1.0, median(growth.values())) if growth else 1.0
    for effects in parts:
        name = effects.feature
        shared = max(0.0, min(effects.volume, common * base[name]) - base[name])
        strays = volume_scatter(ledger.valued(name), min(end - start, LONG_LOOK), start)
        own = effects.volume - common * base[name] * exp(min(strays, LARGEST_SCATTER))
        # What the feature costs more in all is the most that more requests can have cost.
        more = effects.cost - season * expected_window(ledger.cost(name), start, end, start)
        own = max(0.0, min(own, more - shared))
        hidden = found[HIDDEN].get(name, 0.0)
        if hidden:
            also = min(hidden * MISLABELLED / (1 - MISLABELLED), own + shared)
            found[HIDDEN][name] = hidden + also
            own, shared = max(0.0, own - also), shared - max(0.0, also - own)
        if own > 0:
            found[DOMINANCE][name] = own
        if shared > 0:
            found[TRAFFIC][name] = shared
    if found[DOMINANCE]:  # it is one feature, or it is not dominance
        most = max(found[DOMINANCE], key=lambda name: found[DOMINANCE][name])
        found[DOMINANCE] = {most: found[DOMINANCE][most]}
    ranked = [
        Hypothesis(cause, sum(own.values()), own, tools if cause == STORM else {})
        for cause, own in found.items()
    ]
    return sorted(ranked, key=lambda hypothesis: -hypothesis.usd)
