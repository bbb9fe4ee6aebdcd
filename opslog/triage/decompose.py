"""Step 2: is it traffic, or what a request costs? An exact split of the change, without a residue.

The cost of a feature is a sum of two products:

    requests × share × input tokens per request × price per input token × price index
    requests × share × output tokens per request × price per output token × price index

The additive log-mean Divisia method (LMDI-I) gives each factor of x₀ → x₁ the part
L(x₁, x₀) · ln(f₁ / f₀), with the logarithmic mean L(a, b) = (a − b) / ln(a / b). As the logarithms
of the factors add up to ln(x₁ / x₀), the parts add up to x₁ − x₀, in whatever order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, log


@dataclass(frozen=True, slots=True)
class State:
    """One feature in one of the two windows. The window of the spike and the baseline's equally
    many hours. `input_usd` and `output_usd` are at the prices of the baseline."""

    requests: float
    input_tokens: float
    output_tokens: float
    input_usd: float
    output_usd: float
    price_index: float = 1.0  # what the same tokens cost, to the prices of the baseline

    @property
    def cost(self) -> float:
        return (self.input_usd + self.output_usd) * self.price_index


EMPTY = State(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Dollars; they sum to `change`."""

    change: float
    requests: float  # more requests in all
    mix: float  # a larger share of expensive features; features that came or went
    input_tokens: float  # more tokens in for a request
    output_tokens: float
    price: float

    @property
    def parts(self) -> Mapping[str, float]:
        return {
            "requests": self.requests,
            "mix": self.mix,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "price": self.price,
        }


def log_mean(a: float, b: float) -> float:
    """Between the two; of equal ones that one. Both positive."""
    # Of each, not of the ratio: that of the smallest and the largest numbers is no number.
    difference = log(a) - log(b)
    if abs(difference) < 1e-9:
        return (a + b) / 2
    return (a - b) / difference


def decompose(before: Mapping[str, State], after: Mapping[str, State]) -> Decomposition:
    total_before = fsum(state.requests for state in before.values())
    total_after = fsum(state.requests for state in after.values())
    parts: dict[str, list[float]] = {
        name: [] for name in ("requests", "mix", "input_tokens", "output_tokens", "price")
    }
    changes: list[float] = []
    growth = log(total_after) - log(total_before) if total_after > 0 and total_before > 0 else 0.0
    for name in sorted({*before, *after}):
        old, new = before.get(name, EMPTY), after.get(name, EMPTY)
        change = new.cost - old.cost
        changes.append(change)
        total = 0.0
        for kind, usd0, usd1, tokens0, tokens1 in (
            ("input_tokens", old.input_usd, new.input_usd, old.input_tokens, new.input_tokens),
            ("output_tokens", old.output_usd, new.output_usd, old.output_tokens, new.output_tokens),
        ):
            x0, x1 = usd0 * old.price_index, usd1 * new.price_index
            factors = (x0, x1, tokens0, tokens1, old.requests, new.requests)
            if min(*factors, old.price_index, new.price_index) <= 0:
                # It came from nothing or went to nothing: there is no ratio to split.
                parts["mix"].append(x1 - x0)
                total += x1 - x0
                continue
            weight = log_mean(x1, x0)
            asked = log(new.requests) - log(old.requests)
            more = weight * asked
            longer = weight * (log(tokens1) - log(tokens0) - asked)
            parts["requests"].append(weight * growth)
            parts["mix"].append(more - weight * growth)
            parts[kind].append(longer)
            # The rest of the ratio is what a token costs: the price index, and a price per token
            # that the two windows do not share.
            parts["price"].append((x1 - x0) - more - longer)
            total += x1 - x0
        parts["mix"].append(change - total)  # nothing, but for rounding
    return Decomposition(fsum(changes), **{name: fsum(own) for name, own in parts.items()})
