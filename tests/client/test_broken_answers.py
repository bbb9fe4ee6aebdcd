"""Whatever a proxy answers, the client gives a value or one of its own errors."""

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from client.python.tollgate_client import (
    InvalidRequest,
    Refused,
    RetryPolicy,
    Tollgate,
    TollgateError,
    Unavailable,
)
from client.python.tollgate_client.answers import Answer, failure, retry_after
from client.python.tollgate_client.asks import Ask
from tests.waiting import HANG_SECONDS, PAUSE_SECONDS

from .stub import RUN_ID, admitted, extended, settled

if TYPE_CHECKING:
    from .harness import Real

ONCE = RetryPolicy(attempts=1, first_wait=0.001, longest_wait=0.002, total=0.01)
GOOD = {act: json.dumps(make().body).encode() for act, make in
        (("start", admitted), ("extend", extended), ("finish", settled))}  # fmt: skip


class Proxy:
    """Answers with the very bytes that a test gives it, and closes the connection."""

    def __init__(self) -> None:
        self.raw: dict[str, bytes] = {}
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = self._read(connection)
            path = head.split(b" ", 2)[1].decode() if head else ""
            connection.sendall(self.raw.get(path.rsplit("/", 1)[-1], self.raw.get("", b"")))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line[:15] == b"content-length:"
            ),
            0,
        )
        while len(body) < length:
            body += connection.recv(65536)
        return head

    def close(self) -> None:
        self._server.close()


@contextmanager
def proxy_of(raw: bytes) -> Iterator[Proxy]:
    proxy = Proxy()
    proxy.raw[""] = raw
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with proxy_of(b"") as proxy:
        yield proxy


def http(status: int, body: bytes, *headers: tuple[str, bytes], length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever".encode()]
    lines += [name.encode() + b": " + value for name, value in headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CALLS: dict[str, Callable[[Tollgate], object]] = {
    "start": lambda tollgate: tollgate.start(Ask(work_order_id="w", agent="a")),
    "dry_run": lambda tollgate: tollgate.dry_run("w", agent="a"),
    "extend": lambda tollgate: tollgate.extend(RUN_ID),
    "finish": lambda tollgate: tollgate.finish(RUN_ID, status="success", cost_usd=1),
    "runs": lambda tollgate: list(tollgate.runs("w")),
}

DATES = [
    "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Wed, 21 Oct 2015 07:28:00 +9999", "Wed, 21 Oct 99999 07:28:00 GMT", "2015-10-21", "tomorrow",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-28T20:00:00",
]  # fmt: skip
WAITS = ["²", "-5", "0", "1.5", "9" * 400, "١٢", "1e9", "NaN", "inf", "", " 7 ", "7, 8", *DATES]
words = st.one_of(
    st.sampled_from(WAITS),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40),
)
named = st.sampled_from([
    "Retry-After", "Date", "Tollgate-Denial", "Tollgate-Denial-Scope", "Tollgate-Denial-Subject",
    "Tollgate-Reset-At", "Content-Type", "Content-Encoding", "Idempotent-Replayed", "Location",
    "Set-Cookie", "X-Amzn-Trace-Id", "Transfer-Encoding",
])  # fmt: skip
headers = st.lists(
    st.tuples(named, words.map(lambda text: text.encode("latin-1", "replace"))), max_size=6
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10),
        st.sampled_from(["NaN", "-1", "Infinity", "1e999999", "../..", "\ud800", *DATES]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


@st.composite
def nearly_good(draw: st.DrawFn) -> bytes:
    """An answer of the contract in which something is different, missing, or of another type."""
    data: dict[str, Any] = json.loads(GOOD[draw(st.sampled_from(sorted(GOOD)))])
    data |= draw(st.sampled_from([{}, {"error": "no"}, {"results": [{}], "next": "/x"}]))
    for name in draw(st.lists(st.sampled_from([*data, "error", "fields", "settlement", "next"]))):
        if draw(st.booleans()):
            data.pop(name, None)
        else:
            data[name] = draw(values)
    return json.dumps(data).encode()


bodies = st.one_of(
    nearly_good(),
    values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=100),
    st.sampled_from([
        b"", b"<html><h1>502 Bad Gateway</h1></html>", b"[]", b"null", b"[" * 30_000, b"1" * 5_000,
        b'{"error": ', b"\xef\xbb\xbf{}", gzip.compress(b'{"error": "no"}'),
        gzip.compress(b"x" * 1000)[:20], b'{"error": "no", "fields": {"a": [1, null], "b": "c"}}',
    ]),
)  # fmt: skip
statuses = st.one_of(
    st.sampled_from([100, 101, 103, 200, 201, 204, 206, 301, 304, 307, 400, 401, 403, 404, 407,
                     408, 409, 418, 422, 425, 428, 429, 451, 499, 500, 502, 503, 504, 520, 599]),
    st.integers(100, 999),
)  # fmt: skip
raws = st.one_of(
    st.builds(lambda status, body, lines: http(status, body, *lines), statuses, bodies, headers),
    st.builds(
        lambda status, body, length: http(status, body, length=length),
        statuses, bodies, st.integers(0, 100),
    ),
    st.builds(lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body, bodies),
    st.binary(max_size=200),
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(call=st.sampled_from(sorted(CALLS)), raw=raws)
@example("start", http(503, b'{"error": "busy"}', ("Retry-After", "²".encode("latin-1"))))
@example("start", http(503, b"{}", ("Retry-After", b"9" * 400)))
@example("start", http(200, b"x", ("Content-Encoding", b"gzip")))
@example("start", http(200, b"x", ("Content-Encoding", b"br")))
@example("finish", http(200, b"[" * 100_000))
@example("start", http(400, b'{"error": "no", "fields": {"a": [1], "b": 2}}'))
@example("start", http(429, b'{"error": {}}', ("Tollgate-Denial", b"\xe9\xff")))
@example("runs", http(200, b'{"results": {}, "next": "http://[::1"}'))
@example("runs", http(200, b'{"results": [], "next": "/api/work-orders/w/runs?limit=200"}'))
@example("start", b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
@example("start", b"HTTP/0.9 what\r\n")
@example("start", http(201, GOOD["start"].replace(RUN_ID.encode(), b"\\ud800")))
@example("start", http(201, GOOD["start"].replace(b'"0.05"', b'"1e999999"')))
def test_a_value_or_an_error_of_the_package(proxy: Proxy, call: str, raw: bytes) -> None:
    proxy.raw = {"": raw}
    with (
        Tollgate(proxy.url, "tg_token", retry=ONCE, settle_wait=0) as tollgate,
        contextlib.suppress(TollgateError),
    ):
        CALLS[call](tollgate)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(extend=raws, finish=raws)
def test_paid_work_survives_it(proxy: Proxy, extend: bytes, finish: bytes) -> None:
    """Leaving raises nothing, whatever the answer to the settlement is."""
    proxy.raw = {
        "start": http(201, GOOD["start"]),
        "extend": extend,
        "finish": finish,
    }
    done = False
    with (
        Tollgate(proxy.url, "tg_token", retry=ONCE, settle_wait=0.002) as tollgate,
        tollgate.run("w", agent="a") as run,
    ):
        with contextlib.suppress(TollgateError):
            run.extend("0.01")
        run.settle(cost_usd="0.01")
        done = True
    assert done


@pytest.mark.parametrize(
    ("part", "pause", "error"),
    [(b" ", PAUSE_SECONDS, "took too long"), (b" " * 2**20, 0.0, "too large")],
)
def test_an_answer_without_an_end(part: bytes, pause: float, error: str) -> None:
    """Each read is in time, and the whole would never be."""
    gone = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not gone.wait(pause):
                connection.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip)
        dripping.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        patience = 20 * PAUSE_SECONDS if pause else HANG_SECONDS
        with (
            Tollgate(url, "tg_token", retry=ONCE, timeout=patience) as tollgate,
            pytest.raises(Unavailable, match=error),
        ):
            tollgate.start(Ask(work_order_id="w", agent="a"))
        gone.set()
        dripping.join()


HEADER = [
    ("7", 7.0),
    (" 7 ", 7.0),
    ("0", 0.0),
    ("²", None),
    ("١٢", None),
    ("-5", None),
    ("1.5", None),
    ("", None),
    ("soon", None),
    ("9" * 13, None),
    ("9" * 12, 366 * 86400.0),
    ("Sat, 28 Nov 2026 20:01:30 GMT", 90.0),
    ("Sat, 28 Nov 2026 19:00:00 GMT", 0.0),
    ("Sat, 28 Nov 2026 21:00:00 +0100", 0.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 366 * 86400.0),
]


@pytest.mark.parametrize(("text", "seconds"), HEADER)
def test_retry_after(text: str, seconds: float | None) -> None:
    headers = {"retry-after": text, "date": "Sat, 28 Nov 2026 20:00:00 GMT"}
    assert retry_after(Answer(503, headers, b"")) == seconds


MEANINGS: list[tuple[int, dict[str, str], bytes, type[TollgateError]]] = [
    (429, {"tollgate-denial": "concurrency"}, b'{"error": "limit"}', Refused),
    (429, {"tollgate-denial": "concurrency"}, b"{}", Refused),
    # No limit refused it: there was no time.
    (503, {"tollgate-denial": "overloaded"}, b'{"error": "unavailable"}', Unavailable),
    (403, {}, b'{"error": "no such token"}', Refused),
    (400, {}, b'{"error": "bad input"}', InvalidRequest),
    # None of these is the service's answer.
    (429, {"tollgate-denial": "concurrency"}, b"<html>", Unavailable),
    (429, {}, b'{"message": "Too many requests"}', Unavailable),
    (429, {}, b'{"error": "slow down"}', Unavailable),
    (408, {}, b'{"error": "too slow"}', Unavailable),
    (403, {}, b'{"Message": "User is not authorized"}', Unavailable),
    (404, {}, b"404 page not found", Unavailable),
    (400, {}, b'{"error": {"code": 7}}', Unavailable),
    (301, {}, b"", Unavailable),
    (500, {}, b'{"error": "a bug"}', Unavailable),
]


@pytest.mark.parametrize(("status", "headers", "body", "kind"), MEANINGS)
def test_what_an_answer_means(
    status: int, headers: dict[str, str], body: bytes, kind: type[TollgateError]
) -> None:
    assert type(failure(Answer(status, headers, body))) is kind


def test_an_address_with_api_in_it_is_named(real: "Real") -> None:
    tollgate = Tollgate(f"{real.url}/api", real.token)
    with tollgate, pytest.raises(InvalidRequest, match=r"TOLLGATE_URL .* without /api"):
        tollgate.dry_run("w", agent="a", estimated_cost_usd="0.01")
