"""A load generator in a process of its own: keep-alive HTTP on raw sockets, one event loop.

A client library would spend more than the server on each request, on the same two cores.
"""

import re
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

GRACE = 5  # seconds for what is under way at the end, so that the next cell starts alone
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RUN = re.compile(rb'"runId" ?: ?"([0-9a-f-]{36})"')
FINISH = b'{"status": "success", "costUsd": "0.005"}'


@dataclass(frozen=True)
class Sample:
    """What one repetition gave. Latencies in seconds, sorted, of calls of so many asks; `cpu`:
    seconds that the server's processes worked."""

    seconds: float
    latencies: list[float]
    failures: int = 0
    complaint: str = ""
    acknowledged: list[str] = field(default_factory=list)
    asks: int = 1
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies) * self.asks / self.seconds

    def percentile(self, share: float) -> float:
        if not self.latencies:
            return float("nan")
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


@dataclass(frozen=True)
class HttpAsk:
    """`bodies` are sent in turn. `finish`: each run that was started is finished, and a latency is
    that of both. `server`: the process whose CPU is measured, with its children."""

    port: int
    path: str
    bodies: Sequence[bytes]
    token: str
    connections: int
    seconds: float
    expect: int
    server: int
    finish: bool = False

    def request(self, body: bytes, path: str = "") -> bytes:
        return (
            f"POST {path or self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def cpu_seconds(server: int) -> float:
    """User and system time of a process and its children; of none if it has ended."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(server)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                times = each.cpu_times()
                total += times.user + times.system
    return total


class Lane:
    """One connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent_at = 0.0
        self.finishes = False

    def send(self, data: bytes) -> None:
        self.buffer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(data)

    def answer(self) -> bytes | None:
        """The whole answer, or None while some of it is missing. Raises OSError at an end."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError("closed by the server")
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = LENGTH.search(self.buffer, 0, head)
        if len(self.buffer) < head + 4 + (int(length[1]) if length else 0):
            return None
        return self.buffer


def run(ask: HttpAsk) -> Sample:
    """Keeps every connection busy for the given time; what is under way at its end is not counted.

    A connection that breaks is a failure, and is not opened again.
    """
    requests = [ask.request(body) for body in ask.bodies]
    good = f"HTTP/1.1 {ask.expect} ".encode()
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    failures, complaint, turn = 0, "", 0
    before = cpu_seconds(ask.server)
    end = time.perf_counter() + ask.seconds
    for _ in range(ask.connections):
        lane = Lane(ask.port)
        selector.register(lane.socket, selectors.EVENT_READ, lane)
        lane.send(requests[turn % len(requests)])
        turn += 1
    while selector.get_map() and (now := time.perf_counter()) < end + GRACE:
        for key, _ in selector.select(end + GRACE - now):
            lane = key.data
            try:
                answer = lane.answer()
                if answer is None:
                    continue
                now = time.perf_counter()
                if now > end:
                    selector.unregister(lane.socket)
                    lane.socket.close()
                    continue
                if ask.finish and not lane.finishes and (found := RUN.search(answer)):
                    lane.finishes, began = True, lane.sent_at
                    path = f"/api/work-orders/runs/{found[1].decode()}/finish"
                    lane.send(ask.request(FINISH, path))
                    lane.sent_at = began
                    continue
                if answer.startswith(b"HTTP/1.1 200 " if lane.finishes else good):
                    latencies.append(now - lane.sent_at)
                else:
                    failures += 1
                    complaint = complaint or answer[:400].decode(errors="replace")
                lane.finishes = False
                lane.send(requests[turn % len(requests)])
                turn += 1
            except OSError as error:
                failures += 1
                complaint = complaint or str(error)
                selector.unregister(lane.socket)
                lane.socket.close()
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    latencies.sort()
    return Sample(ask.seconds, latencies, failures, complaint, cpu=cpu_seconds(ask.server) - before)
