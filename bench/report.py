"""Repetitions, interleaved; their medians, as text."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from bench.http_load import Sample

Cell = Callable[[], Sample]
Row = tuple[str, ...]
FIGURES = ("", "a second", "lowest to highest", "p50, ms", "p99, ms", "CPU, µs")
RESULTS = ("", "measured", "aim", "")


@dataclass(frozen=True)
class Figures:
    """The repetitions of one cell. Medians of them; latencies in milliseconds, CPU of the server
    in microseconds for each ask."""

    samples: list[Sample]

    @property
    def rate(self) -> float:
        return median(each.rate for each in self.samples)

    @property
    def p50(self) -> float:
        return median(each.percentile(0.5) for each in self.samples) * 1e3

    @property
    def p99(self) -> float:
        return median(each.percentile(0.99) for each in self.samples) * 1e3

    @property
    def cpu(self) -> float:
        return median(
            each.cpu / max(1, len(each.latencies) * each.asks) for each in self.samples
        ) * 1e6  # fmt: skip

    @property
    def row(self) -> "Row":
        rates = [each.rate for each in self.samples]
        return (
            f"{self.rate:,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{self.p50:.2f}",
            f"{self.p99:.2f}",
            f"{self.cpu:.0f}",
        )


class Broken(Exception):
    """The service or the database gave an answer that was not expected."""


def interleave(
    cells: Mapping[str, Cell], repetitions: int, note: Callable[[str], None]
) -> dict[str, Figures]:
    """Each round runs every cell once, each time in another order: a slow minute hits all of them,
    and none always comes after the same."""
    names = list(cells)
    taken: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(repetitions):
        note(f"round {number + 1} of {repetitions}")
        for name in random.Random(number).sample(names, len(names)):
            sample = cells[name]()
            if sample.failures:
                raise Broken(f"{name}: {sample.failures} failures, the first: {sample.complaint}")
            taken[name].append(sample)
    return {name: Figures(samples) for name, samples in taken.items()}


def share(part: Figures, whole: Figures) -> float:
    """Of the rates: the median of the ratios within a round."""
    return median(a.rate / b.rate for a, b in zip(part.samples, whole.samples, strict=True))


def longer(one: Figures, other: Figures, percentile: float) -> float:
    """Of the latencies: the median of the ratios within a round."""
    return median(
        a.percentile(percentile) / b.percentile(percentile)
        for a, b in zip(one.samples, other.samples, strict=True)
    )


def aim(text: str, measured: float, wanted: float, *, at_least: bool) -> Row:
    met = measured >= wanted if at_least else measured <= wanted
    sign = "≥" if at_least else "≤"
    return text, number(measured), f"{sign} {number(wanted)}", "met" if met else "**missed**"


def fact(text: str, measured: float | str) -> Row:
    return text, measured if isinstance(measured, str) else number(measured), "", ""


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def table(head: Row, rows: list[Row]) -> str:
    """In Markdown, and aligned."""
    wide = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = [head, tuple("-" * width for width in wide), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)) + " |"
        for row in lines
    )
