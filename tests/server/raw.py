"""A client that sends what it likes, byte for byte."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

from tests.api.harness import WORK_ORDER, Api

START = "/api/work-orders/start"
ASK = json.dumps(
    {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}
).encode()
PATIENCE = 30


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Raw:
    """One connection; `source` is the address it comes from (127.0.0.0/8 are all this machine)."""

    url: str
    source: str = "127.0.0.1"
    buffer: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        self.socket = socket.create_connection(
            (parts.hostname, parts.port), timeout=PATIENCE, source_address=(self.source, 0)
        )

    def __enter__(self) -> "Raw":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """A request as anybody would send it."""
        self.send(head(method, path, {"Content-Length": str(len(body)), **(headers or {})}) + body)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; raises EOFError where the connection ends instead."""
        top = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = top.rstrip("\r\n").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        status = int(first.split()[1])
        if status == 100:
            return Answer(status, headers)
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.until(b"\r\n"), 16):
                parts.append(self.exactly(size))
                self.exactly(2)
            self.exactly(2)
            return Answer(status, headers, b"".join(parts))
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return Answer(status, headers, self.exactly(length))

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def ended(self) -> bool:
        """Whether the server closes without another byte."""
        try:
            return self.buffer == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def trickle(connection: Raw, *, every: float = 0.05) -> int:
    """Sends a byte at a time until the server has had enough; gives how many it took."""
    connection.socket.settimeout(every)
    sent = 0
    while True:
        try:
            connection.socket.sendall(b"a")
            sent += 1
            if data := connection.socket.recv(65536):
                connection.buffer += data
            connection.socket.settimeout(PATIENCE)
            return sent
        except TimeoutError:
            continue
        except OSError:
            connection.socket.settimeout(PATIENCE)
            return sent


def start(api: Api, source: str = "127.0.0.1") -> int:
    with Raw(api.service.url, source) as connection:
        return connection.ask("POST", START, bearer(api.tokens["start"]), ASK).status
