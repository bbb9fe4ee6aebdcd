"""What a start takes while somebody attacks: its p50 under each attack, beside its quiet one.

    python -m bench --only siege

The attackers are processes on the same two cores: what they spend themselves is in the figures.
"""

import multiprocessing
import random
import secrets
import selectors
import socket
import string
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from bench.ground import HOT, Ground
from bench.http_load import Lane, Sample
from bench.measure import START, Bench, port_of
from bench.report import Cell, Figures, Row, aim, longer

LOOPS = 8
SILENT = 200
TRICKLING = 50
WARM_UP = 1.0  # seconds in which an attack gets going


@dataclass(frozen=True)
class Attack:
    """`loops`: connections that ask again and again. `silent`: those that announce a body, and
    send a byte of it every `drip` seconds (0: nothing)."""

    name: str
    request: Callable[[str], bytes] | None = None
    loops: int = 0
    silent: int = 0
    drip: float = 0


def head(method: str, path: str, headers: Mapping[str, str], length: int = 0) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def stranger() -> dict[str, str]:
    """A token that has the form of one."""
    return {"Authorization": f"Bearer tg_{secrets.token_urlsafe(32)}"}


def schema(session: str) -> bytes:
    return head("GET", "/api/schema", {})


def page(session: str) -> bytes:
    return head("GET", "/admin/", {"Cookie": f"sessionid={session}"})


def login(session: str) -> bytes:
    csrf = "x" * 32
    name = "".join(random.choices(string.ascii_lowercase, k=10))
    body = f"csrfmiddlewaretoken={csrf}&login={name}&password=guess".encode()
    headers = {
        "Cookie": f"csrftoken={csrf}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return head("POST", "/account/login/", headers, len(body)) + body


def wrong_token(session: str) -> bytes:
    body = b'{"workOrderId": "hot", "agentName": "bench", "estimatedCostUsd": "0.01"}'
    headers = {"Content-Type": "application/json", **stranger()}
    return head("POST", START, headers, len(body)) + body


ATTACKS = (
    Attack("bodies announced, none sent", silent=SILENT),
    Attack("bodies that trickle", silent=TRICKLING, drip=0.2),
    Attack("schema", schema, LOOPS),
    Attack("pages", page, LOOPS),
    Attack("logins, random names", login, LOOPS),
    Attack("wrong tokens", wrong_token, LOOPS),
)


def besiege(attack: Attack, port: int, session: str) -> None:
    """Runs until it is ended; a connection that breaks is opened again."""
    selector = selectors.DefaultSelector()
    silent: list[socket.socket] = []
    dripped = time.monotonic()
    for _ in range(attack.loops):
        begin(selector, attack, port, session)
    while True:
        while len(silent) < attack.silent:
            with suppress(OSError):
                silent.append(announce(port))
        if attack.drip and time.monotonic() - dripped >= attack.drip:
            dripped = time.monotonic()
            for each in silent:
                with suppress(OSError):
                    each.send(b" ")
        for each in list(silent):
            if ended(each):
                silent.remove(each)
                each.close()
        for key, _ in selector.select(0.05):
            lane: Lane = key.data
            try:
                if lane.answer() is not None:
                    lane.send(attack.request(session) if attack.request else b"")
            except OSError:
                selector.unregister(lane.socket)
                lane.socket.close()
                begin(selector, attack, port, session)


def begin(selector: selectors.DefaultSelector, attack: Attack, port: int, session: str) -> None:
    assert attack.request is not None
    lane = Lane(port)
    selector.register(lane.socket, selectors.EVENT_READ, lane)
    lane.send(attack.request(session))


def announce(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(head("POST", START, stranger(), 1000))
    connection.setblocking(False)
    return connection


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextmanager
def under(attack: Attack, port: int, session: str) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(
        target=besiege, args=(attack, port, session), daemon=True
    )
    process.start()
    try:
        time.sleep(WARM_UP)
        yield
    finally:
        process.terminate()
        process.join()


@contextmanager
def cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    from config.run.scratch import scratch_service

    with scratch_service(template=on.template, workers=1, page_workers=2) as service:
        port = port_of(service.url)
        quiet = bench.http(service, START, [HOT], 1)
        session = open_session(on, service.database)

        def besieged(attack: Attack) -> Cell:
            def cell() -> Sample:
                with under(attack, port, session):
                    return quiet()

            return cell

        yield {"quiet": quiet, **{attack.name: besieged(attack) for attack in ATTACKS}}


def open_session(on: Ground, database: str) -> str:
    """The session of a superuser."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.db import connections

    connections["default"].close()
    connections["default"].settings_dict["NAME"] = database
    with psycopg.connect(on.superuser_url(database), autocommit=True) as owner:
        owner.execute("UPDATE auth_user SET is_superuser = true, is_staff = true")
    person = User.objects.get()
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.create()
    connections["default"].close()
    assert session.session_key is not None
    return session.session_key


def aims(got: Mapping[str, Figures]) -> list[Row]:
    quiet = got["quiet"]
    return [
        aim(f"p50 under {name} / quiet", longer(figures, quiet, 0.5), 2, at_least=False)
        for name, figures in got.items()
        if name != "quiet"
    ]
