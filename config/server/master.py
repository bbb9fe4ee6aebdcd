"""The process that owns the listening socket, and those that it keeps running."""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType

import uvloop
from django.conf import settings
from django.db import connections

from budgets.gathering import Gatherer
from config import api_schema
from config.run.privileges import die_with_parent
from config.server import door
from config.server.connection import Connection
from config.server.house import House
from config.server.lanes import Lane
from config.server.threads import Application, Threads
from opslog.api.client_address import is_trusted_proxy

log = logging.getLogger("tollgate.server")
ENDING = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 1024
AT_ONCE = 64  # connections that are taken over from other processes before anything else is done
POLITENESS = 19  # decisions first: the rest gets what they leave
MOST_CONNECTIONS = 8192
SHORT_LIFE = 5.0  # seconds; a process that ends sooner is not started again at once


@dataclass(frozen=True)
class Plan:
    host: str
    port: int
    door_port: int  # for programs alone; 0: none
    workers: int
    page_workers: int
    threads: int
    stop_seconds: float


class Ended(BaseException):
    """Asked to stop."""


def serve(application: Application, plan: Plan) -> None:
    """Runs until it is stopped (SIGTERM, SIGINT)."""
    api_schema.document()
    frames = door.frames(application)
    connections.close_all()  # what the checks of the settings have opened is nobody's to share
    listeners = [(listen(plan.host, plan.port), False)]
    if plan.door_port:
        listeners.append((listen(plan.host, plan.door_port), True))
    decisions, pages = Passage(), Passage()
    number = limit_of_files()

    def process(lane: Lane) -> Callable[[], None]:
        here, there = (decisions, pages) if lane is Lane.DECISIONS else (pages, decisions)

        def run() -> None:
            if lane is Lane.OTHER:
                os.nice(POLITENESS)
            threads = Threads(application, plan.threads)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                house = House(
                    loop=runner.get_loop(),
                    threads=threads,
                    lane=lane if plan.page_workers else None,
                    pass_on=there.send,
                    request_seconds=settings.TOLLGATE_REQUEST_TIMEOUT,
                    most_connections=number,
                    most_per_address=settings.TOLLGATE_CONNECTIONS_PER_ADDRESS,
                    exempt=is_trusted_proxy,
                )
                if lane is Lane.DECISIONS:
                    house.door = door.Door(house, Gatherer(house.loop), frames)
                own = listeners if lane is Lane.DECISIONS else []
                runner.run(worker(house, own, here, plan.stop_seconds))

        return run

    lanes = [Lane.DECISIONS] * plan.workers + [Lane.OTHER] * plan.page_workers
    Processes([process(lane) for lane in lanes], plan.stop_seconds).run()


def listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        sys.exit(f"tollgate: HOST {host} is not an address of this machine")
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        sys.exit(f"tollgate: port {port} on {host} is not free ({error.strerror})")
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def limit_of_files() -> int:
    """Connections that a process may have. It may have as many files as the system lets it; bodies
    and connections that are passed on take some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS + 200
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(64, min(MOST_CONNECTIONS, soft // 2 - 100))


class Passage:
    """By which connections are given to a group of processes; whichever is free takes the next.

    One byte, which names the port that the connection came by, carries two descriptors: the
    connection, and a file with what was read of it. (A message of its own could be no longer than
    the system's buffers, which differ.)
    """

    BY = {False: b"c", True: b"d"}

    def __init__(self) -> None:
        self.entry, self.exit = socket.socketpair()
        self.entry.setblocking(False)
        self.exit.setblocking(False)

    def send(self, descriptor: int, already: bytes, by_door: bool) -> bool:
        """False: nobody takes them at the moment."""
        with tempfile.TemporaryFile(buffering=0) as read:
            read.write(already)
            read.seek(0)
            try:
                socket.send_fds(self.entry, [self.BY[by_door]], [descriptor, read.fileno()])
            except OSError:
                return False
        return True

    def take(self) -> tuple[socket.socket, bytes, bool] | None:
        try:
            by, descriptors, _, _ = socket.recv_fds(self.exit, 1, 2)
        except OSError:
            return None
        if len(descriptors) != 2:
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        with open(descriptors[1], "rb") as read:
            already = read.read()
        client = socket.socket(fileno=descriptors[0])
        client.setblocking(False)
        return client, already, by == self.BY[True]


async def worker(
    house: House,
    listeners: list[tuple[socket.socket, bool]],
    passage: Passage,
    stop_seconds: float,
) -> None:
    loop = house.loop
    stop = asyncio.Event()
    for number in ENDING:
        loop.add_signal_handler(number, stop.set)
    adopting: set[asyncio.Task[None]] = set()

    async def adopt(client: socket.socket, already: bytes, by_door: bool) -> None:
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(house, already, door=by_door), client
            )
        except Exception:
            log.exception("a connection could not be taken over")
            client.close()

    def arrived() -> None:
        for _ in range(AT_ONCE):
            taken = passage.take()
            if taken is None:
                return
            task = loop.create_task(adopt(*taken))
            adopting.add(task)
            task.add_done_callback(adopting.discard)

    loop.add_reader(passage.exit.fileno(), arrived)
    servers = [
        await loop.create_server(
            partial(Connection, house, door=by_door), sock=listener, backlog=BACKLOG
        )
        for listener, by_door in listeners
    ]
    await stop.wait()
    for server in servers:
        server.close()
    house.closing = True
    for connection in list(house.connections):
        connection.shut()
    deadline = loop.time() + stop_seconds
    while any(connection.busy for connection in house.connections) and loop.time() < deadline:
        await asyncio.sleep(0.02)
    for connection in list(house.connections):
        connection.transport.close()
    if house.door is not None:
        await house.door.gatherer.close()
    await asyncio.sleep(0)
    os._exit(0)  # a thread that is stuck must not hold the process


class Processes:
    """Forked, so that Django is imported once; one that ends is started again."""

    def __init__(self, runs: list[Callable[[], None]], stop_seconds: float) -> None:
        self.runs, self.stop_seconds = runs, stop_seconds
        self.running: dict[int, tuple[int, float]] = {}  # process id → which, since when

    def run(self) -> None:
        for number in ENDING:
            signal.signal(number, self.on_signal)
        try:
            for index in range(len(self.runs)):
                self.start(index)
            while True:
                pid, status = os.waitpid(-1, 0)
                if pid not in self.running:
                    continue
                index, since = self.running.pop(pid)
                log.error("a web process ended", extra={"code": os.waitstatus_to_exitcode(status)})
                if time.monotonic() - since < SHORT_LIFE:
                    time.sleep(1)
                self.start(index)
        except Ended:
            self.stop()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise Ended

    def start(self, index: int) -> None:
        bound = die_with_parent(signal.SIGKILL)
        # A signal meanwhile must find the child on our list, or without our handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        pid = os.fork()
        if pid:
            self.running[pid] = (index, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            return
        code = 1
        try:
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            if bound is not None:
                bound()
            self.runs[index]()
            code = 0
        except BaseException:
            log.exception("a web process could not go on")
        finally:
            os._exit(code)

    def stop(self) -> None:
        for pid in self.running:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self.stop_seconds + 1
        while self.running and time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            self.running.pop(pid, None)
            if not pid:
                time.sleep(0.02)
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)
