"""manage.py replay: a recorded trace of real LLM requests against the public HTTP API."""

import os
import signal
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from rich.console import Console

from budgets.demo.replay.audit import Exceeded, Sums, exceeded, recorded, recorded_over_http, sums
from budgets.demo.replay.engine import Replay, at_speed
from budgets.demo.replay.fixture import Caps, prepare
from budgets.demo.replay.mapping import Mapping
from budgets.demo.replay.report import print_report
from budgets.demo.replay.trace import TraceError, TraceRequest, read_trace
from client.python.tollgate_client import Tollgate, TollgateError
from opslog.database.another_database import connected_to, scratch_service
from opslog.management.base import Documented, progress


class Audit(NamedTuple):
    """What is wrong after a replay; `sums` None: the counters are another server's."""

    exceeded: list[Exceeded]
    sums: Sums | None = None

    @property
    def passed(self) -> bool:
        return not self.exceeded and (self.sums is None or self.sums.agree)


class Command(Documented):
    examples = ("manage.py replay budgets/demo/azure2023_code_slice.csv.gz --speed 1000",)
    exits = {1: "a limit was exceeded, counters and runs differ, or the trace cannot be played"}
    help = (
        "Plays a recorded trace of real LLM requests (CSV or CSV.gz) against the HTTP API and "
        "checks afterwards, from the runs on record, that no limit was exceeded, and that the "
        "counters add up to the runs: exit code 1 if not. By default on a server and a database "
        "of its own, which are removed afterwards."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("trace", type=Path, help="the trace's file")
        parser.add_argument(
            "--speed", type=positive(float), default=60.0, help="times as fast as recorded (60)"
        )
        parser.add_argument("--limit", type=positive(int), help="only the first so many requests")
        parser.add_argument("--agents", type=positive(int), default=12, help="how many (12)")
        parser.add_argument("--work-orders", type=positive(int), default=10, help="how many (10)")
        parser.add_argument(
            "--workers", type=positive(int), default=32, help="asks and runs in flight at most (32)"
        )
        parser.add_argument(
            "--caps",
            type=caps,
            default=None,
            metavar="runs=1000,usd=5.00,open=8",
            help="caps of each work order and its concurrent runs; not with --url, where limits "
            "are set by people",
        )
        parser.add_argument(
            "--model", default="", help="a model with a price, instead of the trace's names"
        )
        parser.add_argument(
            "--url", default="", help="a running server, with its limits as they are"
        )
        parser.add_argument("--token", default="", help="its token (TOLLGATE_TOKEN)")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console()
        if options["url"] and options["caps"]:
            raise CommandError("--caps is for a database of its own; leave it out with --url.")
        try:
            requests = list(read_trace(options["trace"], limit=options["limit"]))
            found = (
                self.on_server(console, requests, options)
                if options["url"]
                else self.on_scratch(console, requests, options)
            )
        except (TraceError, TollgateError, ValueError, ChildProcessError) as error:
            raise CommandError(str(error)) from None
        except (psycopg.Error, DatabaseError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"The database does not serve: {reason}") from None
        if not found.passed:
            raise SystemExit(1)

    def on_scratch(
        self, console: Console, requests: list[TraceRequest], options: dict[str, Any]
    ) -> Audit:
        limits: Caps = options["caps"] or Caps(1000, Decimal("5.00"), 8)
        work_orders = [f"replay-{n:02}" for n in range(1, options["work_orders"] + 1)]
        mapping = Mapping(work_orders, agents(options["agents"]), options["model"])
        console.print("Starting a server with a database of its own.")
        with scratch_service(workers=2, threads=4) as service:
            with connected_to(service.database):
                token = prepare(work_orders, mapping.agents, limits)
            console.print(
                f"Set there: {len(work_orders)} work orders with {limits} each, prices from the "
                "bundled list, no limit per source address; all other limits as shipped.",
                markup=False,
            )

            def audit(client: Tollgate) -> Audit:
                return Audit(exceeded(*recorded(service.owner_url)), sums(service.owner_url))

            with client_for(service.url, token, options) as client:
                return play(console, client, requests, mapping, options, audit, "its database")

    def on_server(
        self, console: Console, requests: list[TraceRequest], options: dict[str, Any]
    ) -> Audit:
        token = options["token"] or os.environ.get("TOLLGATE_TOKEN", "")
        with client_for(options["url"], token, options) as client:
            names = [each["id"] for each in client.work_orders() if each["status"] == "draft"]
            if not names:
                raise CommandError("The server has no work order that may run.")
            mapping = Mapping(
                names[: options["work_orders"]], agents(options["agents"]), options["model"]
            )

            now = datetime.now(UTC)
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)

            def audit(client: Tollgate) -> Audit:
                runs, limits = recorded_over_http(client, mapping.work_orders, since=midnight)
                return Audit(exceeded(runs, limits, admitted_from=now))

            return play(console, client, requests, mapping, options, audit, "its API")


def play(
    console: Console,
    client: Tollgate,
    requests: list[TraceRequest],
    mapping: Mapping,
    options: dict[str, Any],
    audit: Callable[[Tollgate], Audit],
    audited: str,
) -> Audit:
    """The replay with its progress bar and its table, also when Ctrl-C ends it early."""
    begun = time.monotonic()
    with progress(console) as bar:
        task = bar.add_task("Replaying", total=len(requests))
        replay = Replay(
            client,
            speed=options["speed"],
            in_flight=options["workers"],
            on_ask=lambda: bar.advance(task),
        )
        try:
            replay.play(at_speed(requests, mapping, speed=options["speed"]))
        except KeyboardInterrupt:
            bar.update(task, description="Stopped")
    seconds = time.monotonic() - begun
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        found = audit(client)
        print_report(
            console,
            replay.tally,
            found.exceeded,
            found.sums,
            seconds=seconds,
            behind=replay.behind,
            audited=audited,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    return found


def client_for(url: str, token: str, options: dict[str, Any]) -> Tollgate:
    """Every ask is really sent: a replay drives the service, not the client's memory."""
    return Tollgate(
        url,
        token,
        remember_refusals=False,
        patience=0.0,
        max_connections=options["workers"],
        timeout=30.0,
        journal=False,
    )


def agents(count: int) -> list[str]:
    return [f"agent-{n:02}" for n in range(1, count + 1)]


def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < 1_000_000_000:
            raise ArgumentTypeError(f"{text!r} is no number above 0")
        return number

    return parse


def caps(text: str) -> Caps:
    """runs=1000,usd=5.00,open=8 in any order; `open` may be left out (8)."""
    refusal = ArgumentTypeError(f"{text!r} is not like runs=1000,usd=5.00,open=8")
    try:
        given = dict(part.split("=", 1) for part in text.split(","))
        chosen = Caps(
            int(given.pop("runs")), Decimal(given.pop("usd")), int(given.pop("open", "8"))
        )
    except (KeyError, ValueError, InvalidOperation):
        raise refusal from None
    dollars = chosen.usd_per_day
    if (
        given
        or not (0 < chosen.runs_per_day < 2**31 and 0 < chosen.concurrent < 2**31)
        or not (dollars.is_finite() and 0 < dollars < 10**10 and dollars == round(dollars, 2))
    ):
        raise refusal
    return chosen
