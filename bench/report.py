"""Repetitions, interleaved; their medians, as text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from bench.http_load import Sample


@dataclass(frozen=True)
class Figures:
    """Medians over the repetitions; latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    lowest: float
    highest: float
    cpu_ms: float

    def __str__(self) -> str:
        return (
            f"{self.rate:7.0f}/s  p50 {self.p50:8.2f} ms  p99 {self.p99:8.2f} ms"
            f"  ({self.lowest:.0f} to {self.highest:.0f})"
        )


class Broken(Exception):
    """The service or the database gave an answer that was not expected."""


def interleave(
    cells: Mapping[str, Callable[[], tuple[Sample, float]]],
    repetitions: int,
    note: Callable[[str], None],
) -> dict[str, Figures]:
    """Each round runs every cell once, in an order that turns: a slow minute hits all of them.

    A cell gives its sample and the CPU seconds that the server's processes spent meanwhile.
    """
    names = list(cells)
    taken: dict[str, list[tuple[Sample, float]]] = {name: [] for name in names}
    for number in range(repetitions):
        note(f"round {number + 1} of {repetitions}")
        turn = (number * 5) % len(names)
        for name in names[turn:] + names[:turn]:
            sample, cpu = cells[name]()
            if sample.failures:
                raise Broken(f"{name}: {sample.failures} failures, the first: {sample.complaint}")
            taken[name].append((sample, cpu))
    return {name: summary(pairs) for name, pairs in taken.items()}


def summary(pairs: list[tuple[Sample, float]]) -> Figures:
    rates = [sample.rate for sample, _ in pairs]
    return Figures(
        rate=median(rates),
        p50=median(sample.percentile(0.5) for sample, _ in pairs) * 1000,
        p99=median(sample.percentile(0.99) for sample, _ in pairs) * 1000,
        lowest=min(rates),
        highest=max(rates),
        cpu_ms=median(cpu / max(1, len(sample.latencies)) for sample, cpu in pairs) * 1000,
    )


def share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def aim(text: str, measured: float, wanted: float, *, at_least: bool) -> str:
    met = measured >= wanted if at_least else measured <= wanted
    sign = ">=" if at_least else "<="
    return f"{'met   ' if met else 'MISSED'}  {text}: {measured:.2f} ({sign} {wanted})"
