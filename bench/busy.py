"""Starts through the door at half its capacity, while pages are loaded, people log in, and the
triage works: their latencies, in an open loop."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from statistics import median

from bench import http_load, siege, triage
from bench.flood import flood
from bench.ground import HOT, TOKEN, Ground
from bench.http_load import HttpAsk, Sample
from bench.measure import START, Bench, bodies, pid_of, port_of
from bench.report import Cell, Figures, Row, aim

CONNECTIONS = 32
EVENTS = 500_000
AIM_MS = 25
PAGES = next(each for each in siege.ATTACKS if each.name == "pages")
LOGINS = next(each for each in siege.ATTACKS if each.name == "logins, random names")


def keep_triaging(database: str, now: datetime) -> None:
    """An hour is summed up again and all is judged, until this process is ended."""
    import django

    django.setup()
    from opslog.database.another_database import connected_to
    from opslog.incidents import triage_job, triage_reads
    from opslog.telemetry import rollup

    with connected_to(database):
        while True:
            rollup.mark_stale(since=now - triage.HOUR)
            rollup.refresh()
            triage_job.fresh(triage_reads.rollups(now))


@contextmanager
def triaging(database: str, now: datetime) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(
        target=keep_triaging, args=(database, now), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


@contextmanager
def cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    from config.run.scratch import scratch_service

    with scratch_service(template=on.template, workers=1, page_workers=2) as service:
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        triage.fill(on, service.database, triage.Triaged(EVENTS), now - 3 * triage.HOUR, now)
        session = siege.open_session(on, service.database)
        pages = port_of(service.url)
        ask = HttpAsk(
            port_of(service.door_url), START, bodies([HOT]), TOKEN, CONNECTIONS, bench.seconds, 201,
            pid_of(service),
        )  # fmt: skip
        taken = [bench.loader.submit(http_load.run, ask).result().rate for _ in range(4)]
        capacity = median(taken[1:])  # the first one opens connections
        bench.note(f"half of {capacity:.0f} starts a second")

        loads = {
            "pages": partial(siege.under, PAGES, pages, session),
            "logins": partial(siege.under, LOGINS, pages, session),
            "triage": partial(triaging, service.database, now),
        }

        def while_at(names: Sequence[str]) -> Cell:
            def cell() -> Sample:
                with ExitStack() as stack:
                    for name in names:
                        stack.enter_context(loads[name]())
                    return bench.loader.submit(flood, ask, capacity / 2).result()

            return cell

        yield {
            "quiet": while_at([]),
            **{name: while_at([name]) for name in loads},
            "all three": while_at(list(loads)),
        }


def aims(got: dict[str, Figures]) -> list[Row]:
    return [
        aim(f"p99 in ms, {name}", each.p99, AIM_MS, at_least=False) for name, each in got.items()
    ]
