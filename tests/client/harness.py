"""The real service, and a proxy in front of it that a test closes and opens."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from django.db import transaction
from pytest_django import DjangoDbBlocker

from budgets.demo.replay.fixture import Caps, prepare, set_caps
from budgets.models import Budget
from client.python.tollgate_client import RetryPolicy, Tollgate
from config.run.children import BASE_DIR
from config.run.scratch import scratch_service
from opslog.database.another_database import connected_to
from tests.waiting import HANG_SECONDS, wait_until
from workorders.models import WorkOrder

NARROW = ["narrow", "narrow-async", "narrow-slow", "labels"]  # two runs at the same time
SCARCE = ["digest", "capped", "poor", "stopped-3", "stopped-30", "lapsed"]
ROOMY = ["again", "suspended", "forked", "paid", "limited", "loops", "broken", "tasks", "spent"]
ROOMY += ["governed", "metered", "terminated", "weekly-report", "support"]
CONTRACT = [f"contract-{number}" for number in range(20)]  # one for each test: see test_contract
QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.05, total=HANG_SECONDS)


@dataclass
class Real:
    """The service, as one test sees it: runs that began before it are none of its own."""

    url: str
    owner_url: str
    token: str
    tollgate: Tollgate
    since: datetime | None = None

    def for_a_test(self) -> "Real":
        ((now,),) = self.sql("SELECT now()")
        return replace(self, since=now)

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.owner_url) as owner:
            cursor = owner.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def run(self, run_id: str) -> tuple[str, Decimal | None]:
        """Status and cost of a run, as they are on record."""
        ((status, cost),) = self.sql(
            "SELECT status, cost FROM work_order_runs WHERE id = %s", run_id
        )
        return status, cost

    def kill(self, *, on: bool) -> None:
        self.sql("DELETE FROM kill_switches")
        if on:
            self.sql(
                "INSERT INTO kill_switches (scope, enabled, reason, changed_by, changed_at) "
                "VALUES ('Global', true, 'test', 'test', now())"
            )

    def open_runs(self, order: str) -> int:
        return self.runs(order, "running")

    def runs(self, order: str, status: str = "%") -> int:
        ((count,),) = self.sql(
            "SELECT count(*) FROM work_order_runs "
            "WHERE wo_id = %s AND status LIKE %s AND started_at >= %s",
            *(order, status, self.since),
        )
        return int(count)


@contextmanager
def real_service(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Real]:
    with (
        django_db_blocker.unblock(),
        scratch_service(template=pristine_database, workers=1) as service,
    ):
        with connected_to(service.database):
            token = prepare(
                [*NARROW, *SCARCE, *ROOMY, *CONTRACT], ["digest-1"], Caps(2, Decimal("1.00"), 8)
            )
            with transaction.atomic():
                for order in WorkOrder.objects.filter(pk__in=ROOMY):
                    set_caps(order, Caps(1000, Decimal("100.00"), 50))
                for order in WorkOrder.objects.filter(pk__in=NARROW):
                    set_caps(order, Caps(1000, Decimal("100.00"), 2))
                for order in WorkOrder.objects.filter(pk__in=CONTRACT):
                    set_caps(order, Caps(3, Decimal("1.00"), 2))
                Budget.objects.filter(window="open").update(amount=None)
        with Tollgate(service.url, token) as tollgate:
            yield Real(service.url, service.owner_url, token, tollgate)


@dataclass
class Gate:
    """A proxy in front of the service. `closed` is what it answers by itself: a status with a page
    in HTML, or 0 for a connection that breaks; None: it forwards. `only`: what it closes or hangs
    for, such as "finish". `lost`: so many answers of the service are. `hangs`: it accepts, and
    answers once that is over."""

    service: str
    url: str = ""
    closed: int | None = None
    only: str = ""
    lost: int = 0
    hangs: bool = False
    paths: list[str] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    agents: list[tuple[str, int]] = field(default_factory=list)

    def asked(self, act: str) -> int:
        return sum(1 for path in self.paths if path.endswith(f"/{act}"))

    def wait_for(self, act: str, count: int = 1) -> None:
        wait_until(lambda: self.asked(act) >= count, act)


@contextmanager
def gate_to(service: str) -> Iterator[Gate]:
    gate = Gate(service)
    http = httpx2.Client(base_url=service, timeout=HANG_SECONDS)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            gate.paths.append(self.path)
            gate.agents.append(self.client_address)
            if gate.hangs and self.path.endswith(gate.only):
                wait_until(lambda: not gate.hangs, "a gate that hangs for ever")
            if gate.closed is not None and self.path.endswith(gate.only):
                self.close_connection = True
                if gate.closed:
                    self.reply(gate.closed, {"Content-Type": "text/html"}, b"<h1>Deploying</h1>")
                return
            kept = ("authorization", "content-type", "idempotency-key")
            headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
            answer = http.post(self.path, content=body, headers=headers)
            if gate.lost:
                gate.lost -= 1
                self.close_connection = True
                return
            dropped = ("content-length", "connection", "transfer-encoding", "content-encoding")
            self.reply(
                answer.status_code,
                {name: text for name, text in answer.headers.items() if name not in dropped},
                answer.content,
            )

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Silent: a client that is killed breaks its connection."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    gate.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        http.close()


@dataclass
class Ended:
    code: int
    out: str
    err: str


class Running:
    """A program under way. `release` lets it go on that waits for a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return str(self._process.stdout.readline()).strip()

    def release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As the kernel does where memory runs out."""
        self._process.kill()
        self.ended()

    def ended(self) -> Ended:
        try:
            out, err = self._process.communicate(timeout=HANG_SECONDS)
        finally:
            self._process.kill()  # one that hangs
        return Ended(self._process.returncode, out, err)


@dataclass
class Program:
    """A program of its own that uses the client; `text` is Python, with `tollgate` at hand."""

    url: str
    token: str
    folder: Path

    def begin(self, text: str, options: str = "") -> Running:
        begin = (
            "import logging, os, signal, sys, threading, time\n"
            # (What is started in the background of a shell ignores it.)
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "logging.basicConfig(level=logging.WARNING)\n"
            "from client.python.tollgate_client import *\n"
            "quick = RetryPolicy(first_wait=0.01, longest_wait=0.05)\n"
            f"tollgate = Tollgate({self.url!r}, os.environ['TOKEN'], retry=quick, {options})\n"
        )
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "program.py"
        file.write_text(begin + text)
        return Running(
            subprocess.Popen(
                [sys.executable, str(file)],
                cwd=BASE_DIR,
                env={**os.environ, "PYTHONPATH": str(BASE_DIR), "TOKEN": self.token},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def run(self, text: str, options: str = "") -> Ended:
        return self.begin(text, options).ended()
