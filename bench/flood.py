"""Starts that arrive at a fixed rate, whatever becomes of those before them (an open loop)."""

import selectors
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from bench.http_load import GRACE, HttpAsk, Lane, Sample, cpu_seconds

LATE = 0.1  # seconds: what this process could not send by then is not sent at all


@dataclass(frozen=True)
class Flooded(Sample):
    """Latencies are those of admitted starts, from the moment at which each was due."""

    offered: float = 0.0  # a second, as sent
    statuses: dict[str, int] = field(default_factory=dict)
    ended: list[float] = field(default_factory=list)  # when each was admitted, by perf_counter
    back: float = 0.0  # seconds from the end of the load to the first good answer

    def admitted(self, first: float, last: float) -> float:
        """A second, between two moments."""
        return sum(first <= each < last for each in self.ended) / (last - first)


def flood(ask: HttpAsk, rate: float) -> Flooded:
    """`rate` a second over at most so many connections; 0: each asks again as soon as it is
    answered. A connection that breaks is opened again. Nothing but 201 and 503 is expected."""
    requests = [ask.request(body) for body in ask.bodies]
    selector, idle = selectors.DefaultSelector(), deque[Lane]()
    latencies: list[float] = []
    ended: list[float] = []
    statuses: Counter[str] = Counter()
    due: dict[Lane, float] = {}
    for _ in range(ask.connections):
        idle.append(opened(ask.port, selector))
        use(idle[-1], requests[0])
    before, began = cpu_seconds(ask.server), time.perf_counter()
    end, turn, sent, complaint, failures = began + ask.seconds, 0, 0, "", 0
    while (now := time.perf_counter()) < end or (due and now < end + GRACE):
        while idle and now < end:
            at = began + turn / rate if rate else now
            if at > now:
                break
            turn += 1
            if now - at > LATE:
                continue
            lane = idle.popleft()
            try:
                lane.send(requests[turn % len(requests)])
            except OSError:
                statuses["broken"] += 1
                idle.append(again(lane, ask.port, selector))
                continue
            due[lane] = at
            sent += 1
            if turn % 16 == 0:
                break  # what has come is read, too
        wait = 0.05
        if idle and now < end:
            wait = min(wait, max(0.0, began + turn / rate - time.perf_counter())) if rate else 0.0
        for key, _ in selector.select(wait):
            lane = key.data
            try:
                answer = lane.answer()
            except OSError:
                statuses["broken"] += 1
                due.pop(lane, None)
                idle.append(again(lane, ask.port, selector))
                continue
            if answer is None:
                continue
            status = answer[9:12].decode()
            statuses[status] += 1
            at = due.pop(lane)
            if status == "201":
                ended.append(time.perf_counter())
                latencies.append(ended[-1] - at)
            elif status != "503":
                failures, complaint = failures + 1, answer[:400].decode(errors="replace")
            if b"connection: close" in answer[:600].lower():
                lane = again(lane, ask.port, selector)
            idle.append(lane)
    back = seconds_until_good(ask.port, requests[0], end) if statuses["503"] else 0.0
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    latencies.sort()
    return Flooded(
        ask.seconds, latencies, failures, complaint, cpu=cpu_seconds(ask.server) - before,
        offered=sent / ask.seconds, statuses=dict(statuses),
        ended=ended, back=back,
    )  # fmt: skip


def opened(port: int, selector: selectors.BaseSelector) -> Lane:
    lane = Lane(port)
    selector.register(lane.socket, selectors.EVENT_READ, lane)
    return lane


def use(lane: Lane, request: bytes) -> None:
    """Once: the server has taken the connection, and its load is no longer that of new ones."""
    lane.send(request)
    while lane.answer() is None:
        pass


def again(lane: Lane, port: int, selector: selectors.BaseSelector) -> Lane:
    selector.unregister(lane.socket)
    lane.socket.close()
    return opened(port, selector)


def seconds_until_good(port: int, request: bytes, since: float, good: float = 0.1) -> float:
    """Until a single client is admitted within 0.1 seconds."""
    while time.perf_counter() < since + 60:
        lane, began = Lane(port), time.perf_counter()
        lane.send(request)
        answer = None
        while answer is None:
            answer = lane.answer()
        lane.socket.close()
        ended = time.perf_counter()
        if answer.startswith(b"HTTP/1.1 201 ") and ended - began < good:
            return began - since
        time.sleep(0.01)
    return float("inf")
