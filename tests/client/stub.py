"""A real HTTP server on loopback that answers what a test scripted: for what a healthy service
never does (a reset connection, a 503 that passes, a lease refused in the middle of the work)."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import HANG_SECONDS

RUN_ID = "0197f3a0-0000-7000-8000-000000000001"


@dataclass
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False


@dataclass
class Asked:
    path: str
    key: str
    token: str
    body: dict[str, Any]


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def admitted(lease: float = 900) -> Answer:
    return Answer(
        201,
        {
            "runId": RUN_ID,
            "workOrderId": "digest",
            "status": "running",
            "reservedUsd": "0.05",
            "leaseExpiresAt": later(lease),
            "caps": {"runsPerDay": 100, "usdPerDay": 2.0},
            "usage": {"runsToday": 1, "usdToday": "0.05", "openRuns": 1},
        },
    )


def extended(reserved: str = "0.05", lease: float = 900) -> Answer:
    return Answer(
        200,
        {
            "runId": RUN_ID,
            "status": "running",
            "reservedUsd": reserved,
            "leaseExpiresAt": later(lease),
        },
    )


def settled(status: str = "success", cost: str = "0.031") -> Answer:
    return Answer(
        200,
        {
            "runId": RUN_ID,
            "workOrderId": "digest",
            "status": status,
            "costUsd": cost,
            "reservedUsd": "0.05",
            "overrunUsd": "0",
            "startedAt": later(-1),
            "finishedAt": later(0),
        },
    )


def refused(
    status: int, denial: str, error: str, *, retry: int | None = None, reset: float | None = None
) -> Answer:
    headers = {"Tollgate-Denial": denial}
    if retry is not None:
        headers["Retry-After"] = str(retry)
    if reset is not None:
        headers["Tollgate-Reset-At"] = later(reset)
    return Answer(status, {"error": error}, headers)


RESET = Answer(0, {}, reset=True)


class Stub:
    """Answers by the last part of the path, in the order scripted; the last one stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: dict[str, deque[Answer]] = {
            "start": deque([admitted()]),
            "extend": deque([extended()]),
            "finish": deque([settled()]),
        }
        self.url = ""
        self.changed = threading.Condition()

    def answers(self, act: str, *answers: Answer) -> None:
        self.script[act] = deque(answers)

    def acts(self, act: str) -> list[Asked]:
        return [ask for ask in self.asked if ask.path.endswith(f"/{act}")]

    def wait_for(self, act: str, count: int, seconds: float = HANG_SECONDS) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.acts(act)) >= count, seconds)

    def take(self, ask: Asked) -> Answer:
        with self.changed:
            self.asked.append(ask)
            self.changed.notify_all()
            queue = self.script[ask.path.rsplit("/", 1)[-1]]
            return queue.popleft() if len(queue) > 1 else queue[0]


@contextmanager
def stub_service() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            answer = stub.take(
                Asked(
                    self.path,
                    self.headers.get("Idempotency-Key", ""),
                    self.headers.get("Authorization", ""),
                    json.loads(self.rfile.read(size)),
                )
            )
            if answer.reset:
                self.connection.close()
                self.close_connection = True
                return
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

        def finish(self) -> None:
            if not self.wfile.closed and not self.close_connection:
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Silent: a connection that a test resets fails in its handler too."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
