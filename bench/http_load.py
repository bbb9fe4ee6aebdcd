"""A load generator in a process of its own: keep-alive HTTP on raw sockets, one event loop.

A client library would spend more than the server on each request, on the same two cores.
"""

import re
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

LATE = 0.1  # seconds: what an open loop could not send by then is not sent at all
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
class Flow(Sample):
    """Latencies are of good answers, from the moment at which each request was due."""

    offered: float = 0.0  # a second, as sent
    ended: list[float] = field(default_factory=list)  # when each was answered, by perf_counter
    back: float = 0.0  # seconds from the end of the load to the first good answer

    def admitted(self, first: float, last: float) -> float:
        """A second, between two moments."""
        return sum(first <= each < last for each in self.ended) / (last - first)


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
        self.due = 0.0  # when its request was to be sent
        self.finishes = False

    def send(self, data: bytes, due: float = 0) -> None:
        self.buffer, self.due = b"", due
        self.socket.sendall(data)

    def ask(self, data: bytes) -> bytes:
        """Sends it, and waits for the answer."""
        self.send(data)
        while (answer := self.answer()) is None:
            pass
        return answer

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


def run(ask: HttpAsk, rate: float = 0) -> Flow:
    """`rate` starts a second, whatever becomes of those before them (an open loop), over at most so
    many connections, of which each was used before; 0: each asks again as soon as it is answered.

    A connection that breaks is a failure, and is opened again. So is any answer but the expected
    one, and, in an open loop, 503.
    """
    requests = [ask.request(body) for body in ask.bodies]
    good = b"HTTP/1.1 %d " % ask.expect
    selector, idle = selectors.DefaultSelector(), deque[Lane]()
    latencies: list[float] = []
    ended: list[float] = []
    statuses: Counter[str] = Counter()

    def opened() -> Lane:
        lane = Lane(ask.port)
        selector.register(lane.socket, selectors.EVENT_READ, lane)
        return lane

    def closed(lane: Lane) -> None:
        selector.unregister(lane.socket)
        lane.socket.close()

    for _ in range(ask.connections):
        idle.append(opened())
        if rate:  # the server has taken it: its load is not that of new connections
            idle[-1].ask(requests[0])
    before, began = cpu_seconds(ask.server), time.perf_counter()
    end, turn, sent, failures, complaint = began + ask.seconds, 0, 0, 0, ""
    while (now := time.perf_counter()) < end or (len(idle) < ask.connections and now < end + GRACE):
        while idle and now < end:
            due = began + turn / rate if rate else now
            if due > now:
                break
            turn += 1
            if now - due > LATE:
                continue
            lane = idle.popleft()
            try:
                lane.send(requests[turn % len(requests)], due)
                sent += 1
            except OSError:
                pass  # it is readable, and its end is read
            if turn % 16 == 0:
                break  # what has come is read, too
        wait = 0.05
        if idle and now < end:
            wait = max(0.0, began + turn / rate - time.perf_counter()) if rate else 0.0
        for key, _ in selector.select(min(wait, 0.05)):
            lane = key.data
            try:
                answer = lane.answer()
            except OSError as error:
                failures, complaint = failures + 1, complaint or str(error)
                closed(lane)
                idle.append(opened())
                continue
            if answer is None:
                continue
            if ask.finish and not lane.finishes and (found := RUN.search(answer)):
                lane.finishes = True
                path = f"/api/work-orders/runs/{found[1].decode()}/finish"
                lane.send(ask.request(FINISH, path), lane.due)
                continue
            now = time.perf_counter()
            statuses[answer[9:12].decode()] += 1
            if answer.startswith(b"HTTP/1.1 200 " if lane.finishes else good):
                if rate or now < end:
                    ended.append(now)
                    latencies.append(now - lane.due)
            elif not (rate and answer.startswith(b"HTTP/1.1 503 ")):
                failures += 1
                complaint = complaint or answer[:400].decode(errors="replace")
            lane.finishes = False
            if b"connection: close" in answer[:600].lower():
                closed(lane)
                lane = opened()
            idle.append(lane)
    back = seconds_until_good(ask.port, requests[0], end) if statuses["503"] else 0.0
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    latencies.sort()
    return Flow(
        ask.seconds, latencies, failures, complaint, cpu=cpu_seconds(ask.server) - before,
        offered=sent / ask.seconds, ended=ended, back=back,
    )  # fmt: skip


def seconds_until_good(port: int, request: bytes, since: float, good: float = 0.1) -> float:
    """Until a single client is admitted within 0.1 seconds."""
    while time.perf_counter() < since + 60:
        lane, began = Lane(port), time.perf_counter()
        answer = lane.ask(request)
        lane.socket.close()
        if answer.startswith(b"HTTP/1.1 201 ") and time.perf_counter() - began < good:
            return began - since
        time.sleep(0.01)
    return float("inf")
