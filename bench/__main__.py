"""`make bench`: everything in one run, on one machine, interleaved; medians of the repetitions."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context

from bench import (
    busy,
    crash,
    guardrails,
    history,
    measure,
    overload,
    sealing,
    settling,
    siege,
    telemetry,
    triage,
)
from bench.ground import Ground, ground
from bench.measure import Bench
from bench.report import (
    FIGURES,
    RESULTS,
    Broken,
    Cell,
    Figures,
    Row,
    aim,
    interleave,
    longer,
    table,
)


@dataclass(frozen=True)
class Table:
    """Cells that are measured in turn, and what is aimed at."""

    title: str
    cells: Callable[[Bench, Ground], AbstractContextManager[Mapping[str, Cell]]]
    aims: Callable[[dict[str, Figures]], list[Row]]

    def __call__(self, bench: Bench, on: Ground, *, quick: bool) -> None:
        with self.cells(bench, on) as cells:
            got = interleave(cells, bench.repetitions, bench.note)
        show(self.title, FIGURES, [(name, *figures.row) for name, figures in got.items()])
        show("", RESULTS, self.aims(got))


@dataclass(frozen=True)
class Facts:
    """A measurement that has its own order."""

    title: str
    rows: Callable[[Bench, Ground, bool], list[Row]]

    def __call__(self, bench: Bench, on: Ground, *, quick: bool) -> None:
        show(self.title, RESULTS, self.rows(bench, on, quick))


def show(title: str, head: Row, rows: list[Row]) -> None:
    print(f"\n## {title}\n" if title else "")
    print(table(head, rows), flush=True)


def with_rows(title: str, sizes: dict[str, tuple[int, bool]]) -> Table:
    few, many = sizes

    def aims(got: dict[str, Figures]) -> list[Row]:
        return [
            aim(f"p99, {many} / {few}, {how}",
                longer(got[f"{many}, {how}"], got[f"{few}, {how}"], 0.99), 1.25, at_least=False)
            for how in ("one by one", "32 in a call")
        ]  # fmt: skip

    return Table(title, lambda bench, on: history.cells(bench, on, sizes), aims)


PARTS: dict[str, Callable[..., None]] = {
    "database": Table(
        "Admission without HTTP", measure.database_cells, measure.database_aims
    ),
    "settling": Facts(
        "Finishes and direct spend, one session", lambda bench, on, _: settling.measure(bench, on)
    ),
    "http": Table(
        "Over HTTP, 1 + 2 processes, by connections", measure.http_cells, measure.http_aims
    ),
    "busy": Table("Starts at half of what the door can do", busy.cells, busy.aims),
    "overload": Facts("Overload", lambda bench, on, _: overload.measure(bench, on)),
    "guardrails": Table("With and without guardrails", guardrails.cells, guardrails.aims),
    "today": with_rows(
        "With runs already today", {"0 runs": (0, True), "100,000 runs": (100_000, True)}
    ),
    "crash": Facts(
        "Acknowledged and lost after immediate stops under load",
        lambda bench, on, quick: crash.rows(on, bench.loader, 2 if quick else 5),
    ),
}  # fmt: skip
ASKED_FOR: dict[str, Callable[..., None]] = {
    "history": with_rows(
        "With history", {"empty table": (0, False), "ten million runs": (10_000_000, False)}
    ),
    "telemetry": Table("Telemetry over HTTP, by connections", telemetry.cells, telemetry.aims),
    "siege": Table("A start under siege, one connection", siege.cells, siege.aims),
    "sealing": Facts(
        "Sealing and verifying, one process",
        lambda _, on, quick: sealing.rows(sealing.measure(on, 100_000 if quick else 1_000_000)),
    ),
    "triage": Facts(
        "The triage, one process",
        lambda _, on, quick: triage.rows(triage.measure(on, 500_000 if quick else 10_000_000)),
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short repetitions")
    parser.add_argument("--seconds", type=float, help="length of a repetition")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--only", choices=(*PARTS, *ASKED_FOR), action="append", default=[])
    given = parser.parse_args()
    given.seconds = given.seconds or (0.5 if given.quick else 1.0)
    given.repetitions = given.repetitions or (3 if given.quick else 5)
    return given


def main() -> int:
    given = arguments()
    began = time.monotonic()

    def note(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start,"
        f" Python {platform.python_version()}; {given.repetitions} x {given.seconds} s each"
    )
    with ground() as on, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as loader:
        import django

        django.setup()
        from config.run.static import collect_if_changed

        collect_if_changed()
        bench = Bench(loader, given.seconds, given.repetitions, note)
        try:
            for name in given.only or PARTS:
                (PARTS | ASKED_FOR)[name](bench, on, quick=given.quick)
        except Broken as error:
            print(f"The measurement broke: {error}", file=sys.stderr)
            return 1
    print(f"\nload {os.getloadavg()[0]:.1f} at the end, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
