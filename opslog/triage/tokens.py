"""Step 4: tokens per request, average and 95th percentile, before and after; context growth."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from opslog.triage.data import BUCKETS, Cell, SessionGrowth


@dataclass(frozen=True, slots=True)
class TokenFigures:
    requests: int
    average: float
    p95: float | None  # None: the cells have no buckets


@dataclass(frozen=True, slots=True)
class Tokens:
    input: TokenFigures
    input_before: TokenFigures
    output: TokenFigures
    output_before: TokenFigures
    growth: SessionGrowth | None  # within sessions


def percentile(buckets: tuple[int, ...], share: float) -> float | None:
    """From requests per power of two, taken as even within a bucket: an approximation."""
    total = sum(buckets)
    if not total:
        return None
    below, wanted = 0, share * total
    for index, count in enumerate(buckets):
        if count and below + count >= wanted:
            low = float(1 << (index - 1)) if index else 0.0
            high = float(1 << index) - 1 if index else 0.0
            return low + (high - low) * max(0.0, wanted - below) / count
        below += count
    return None


def _figures(rows: list[tuple[int, int, tuple[int, ...]]]) -> TokenFigures:
    requests = sum(count for count, _, _ in rows)
    total = sum(tokens for _, tokens, _ in rows)
    buckets = [0] * BUCKETS
    for _, _, own in rows:
        for index, count in enumerate(own):
            buckets[index] += count
    return TokenFigures(
        requests, total / requests if requests else 0.0, percentile(tuple(buckets), 0.95)
    )


def tokens(
    cells: Iterable[Cell],
    start: datetime,
    end: datetime,
    feature: str | None = None,
    growth: SessionGrowth | None = None,
) -> Tokens:
    """Of one feature, or of all; [start, end) against everything given before it."""
    after: list[Cell] = []
    before: list[Cell] = []
    for cell in cells:
        if feature in (None, cell.feature) and cell.hour < end:
            (after if cell.hour >= start else before).append(cell)
    return Tokens(
        _figures([(c.requests, c.input_tokens, c.input_buckets) for c in after]),
        _figures([(c.requests, c.input_tokens, c.input_buckets) for c in before]),
        _figures([(c.requests, c.output_tokens, c.output_buckets) for c in after]),
        _figures([(c.requests, c.output_tokens, c.output_buckets) for c in before]),
        growth,
    )
