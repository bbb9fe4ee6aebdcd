"""`make bench`: everything in one run, on one machine, interleaved; medians of the repetitions."""

import argparse
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil

from bench import (
    ceiling,
    crash,
    guardrails,
    history,
    measure,
    sealing,
    siege,
    telemetry,
    triage,
)
from bench.ground import Ground, ground
from bench.measure import Bench
from bench.report import Broken, Figures, aim, interleave

PARTS = ("http", "database", "guardrails", "telemetry", "today", "crash")
ASKED_FOR = ("ceiling", "history", "sealing", "siege", "triage")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: short repetitions")
    parser.add_argument("--history", action="store_true", help="also ten million rows (minutes)")
    parser.add_argument("--seconds", type=float, help="length of a repetition")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--only", choices=(*PARTS, *ASKED_FOR), action="append", default=[])
    given = parser.parse_args()
    given.seconds = given.seconds or (0.6 if given.quick else 3.0)
    given.repetitions = given.repetitions or (3 if given.quick else 5)
    given.parts = given.only or [*PARTS, *(["history"] if given.history else [])]
    return given


def show(title: str, got: dict[str, Figures], aims: list[str]) -> None:
    print(f"\n{title}")
    for name, figures in got.items():
        print(f"  {name:28}{figures}")
    for line in aims:
        print(f"  {line}")
    sys.stdout.flush()


def over_http(bench: Bench, on: Ground) -> None:
    from config.scratch import scratch_service

    with scratch_service(template=on.template) as service:
        process = service.children[0].process
        assert process is not None
        port = int(service.url.rsplit(":", 1)[1])
        cells = measure.http_cells(bench, port, psutil.Process(process.pid))
        got = interleave(cells, bench.repetitions, bench.note)
    show("Over HTTP, 2 workers x 4 threads, by connections", got, measure.http_aims(got))
    for name in ("empty view, 8", "start, hot, 8", "ORM, hot, 8"):
        print(f"  CPU of the web server per request: {name:16}{got[name].cpu_ms:6.2f} ms")


def in_the_database(bench: Bench, on: Ground) -> None:
    from config.scratch import scratch_database

    with scratch_database(on.template) as database:
        cells = measure.database_cells(bench, on.app_url(database))
        got = interleave(cells, bench.repetitions, bench.note)
    show("Without HTTP, by clients", got, measure.database_aims(got))


def under_one_lock(bench: Bench, on: Ground) -> None:
    with ceiling.cells(bench, on) as cells:
        got = interleave(cells, bench.repetitions, bench.note)
    show(f"What one lock leaves, {ceiling.CLIENTS} clients", got, ceiling.shares(got))


def with_guardrails(bench: Bench, on: Ground) -> None:
    with guardrails.cells(bench, on) as cells:
        got = interleave(cells, bench.repetitions, bench.note)
    show("With and without guardrails", got, guardrails.aims(got))


def taking_telemetry(bench: Bench, on: Ground) -> None:
    with telemetry.cells(bench, on) as cells:
        got = interleave(cells, bench.repetitions, bench.note)
    show("Telemetry over HTTP, 2 workers x 4 threads, by connections", got, telemetry.aims(got))
    for name, figures in got.items():
        print(f"  CPU of the web server per request: {name:16}{figures.cpu_ms:6.1f} ms")


def under_siege(bench: Bench, on: Ground) -> None:
    with siege.cells(bench, on) as cells:
        got = interleave(cells, bench.repetitions, bench.note)
    show("A start under siege, one connection", got, siege.aims(got))


def with_history(bench: Bench, on: Ground, title: str, sizes: dict[str, tuple[int, bool]]) -> None:
    first, last = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    with history.cells(bench, on, sizes) as cells:
        got = interleave(cells, bench.repetitions, bench.note)
    aims = [
        aim(f"p99, {last} / {first}, at {clients}",
            got[f"{last}, {clients}"].p99 / got[f"{first}, {clients}"].p99, 1.25, at_least=False)
        for clients in (1, 8)
    ]  # fmt: skip
    show(title, got, aims)


def after_crashes(on: Ground, loader: ProcessPoolExecutor, rounds: int) -> None:
    ours, control = crash.rounds(on, loader, rounds)
    print(f"\nAcknowledged and lost after {rounds} immediate stops under load")
    print(f"  admission                     {ours.lost} of {ours.acknowledged}")
    print(f"  control, asynchronous commit  {control.lost} of {control.acknowledged}")
    print("  " + aim("acknowledged starts lost", ours.lost, 0, at_least=False))


def with_seals(on: Ground, rows: int) -> None:
    got = sealing.measure(on, rows)
    print(f"\nSealing and verifying {rows:,} events, one process")
    for line in sealing.lines(got):
        print(f"  {line}")
    print("  " + aim("seconds to verify", got.verify_seconds, 60, at_least=False))


def with_telemetry(on: Ground, rows: int) -> None:
    got = triage.measure(on, rows)
    print("\nThe triage, one process")
    for line in triage.lines(got):
        print(f"  {line}")
    print("  " + aim("seconds of the slowest", max(got.seconds.values()), 10, at_least=False))


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
        bench = Bench(loader, given.seconds, given.repetitions, note)
        try:
            if "http" in given.parts:
                over_http(bench, on)
            if "database" in given.parts:
                in_the_database(bench, on)
            if "ceiling" in given.parts:
                under_one_lock(bench, on)
            if "siege" in given.parts:
                under_siege(bench, on)
            if "guardrails" in given.parts:
                with_guardrails(bench, on)
            if "telemetry" in given.parts:
                taking_telemetry(bench, on)
            if "today" in given.parts:
                with_history(bench, on, "Admission with runs already today, by clients",
                             {"0 runs": (0, True), "1,000 runs": (1_000, True),
                              "100,000 runs": (100_000, True)})  # fmt: skip
            if "history" in given.parts:
                with_history(bench, on, "Admission with history, by clients",
                             {"empty table": (0, False),
                              "ten million runs": (10_000_000, False)})  # fmt: skip
            if "sealing" in given.parts:
                with_seals(on, 100_000 if given.quick else 1_000_000)
            if "triage" in given.parts:
                with_telemetry(on, 500_000 if given.quick else 10_000_000)
            if "crash" in given.parts:
                after_crashes(on, loader, 2 if given.quick else 5)
        except Broken as error:
            print(f"The measurement broke: {error}", file=sys.stderr)
            return 1
    print(f"\nload {os.getloadavg()[0]:.1f} at the end, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
