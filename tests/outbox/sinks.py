"""Real servers that messages are sent to: SMTP and HTTP, on the loopback address; also such that
hang, drip, or take long."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

from tests.waiting import HANG_SECONDS, PAUSE_SECONDS


class SmtpSink(socketserver.ThreadingTCPServer):
    """Takes every mail; `refuse` makes it answer RCPT with that code, and `silent_after` be silent
    after that command ("CONNECT", "DATA" for the end of the text) until `go_on` is set."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SmtpSession)
        self.mails: list[EmailMessage] = []
        self.refuse = 0
        self.silent_after = ""
        self.go_on = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class SmtpSession(socketserver.StreamRequestHandler):
    server: SmtpSink

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def hang_after(self, command: str) -> None:
        if self.server.silent_after == command:
            self.server.go_on.wait(HANG_SECONDS)

    def handle(self) -> None:
        self.hang_after("CONNECT")
        self.say("220 sink")
        while command := self.rfile.readline().decode().strip().upper():
            if command.startswith("RCPT") and self.server.refuse:
                self.say(f"{self.server.refuse} no such person, password hunter2")
            elif command == "DATA":
                self.say("354 go on")
                self.server.mails.append(self.mail())
                self.hang_after("DATA")
                self.say("250 taken")
            elif command == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def mail(self) -> EmailMessage:
        lines = iter(self.rfile.readline, b".\r\n")
        raw = b"".join(line[1:] if line.startswith(b"..") else line for line in lines)
        return message_from_bytes(raw, policy=policy.default)


class HttpSink(ThreadingHTTPServer):
    """Keeps what is posted to it. `status` is its answer; 3xx leads to `elsewhere`; `headers` are
    sent too. With `silent` it takes everything and answers once `go_on` is set; with `drips` its
    answer comes byte by byte, without an end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HttpSession)
        self.posts: list[tuple[str, str]] = []
        self.status = 200
        self.elsewhere = ""
        self.headers: dict[str, str] = {}
        self.silent = self.drips = False
        self.go_on = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class HttpSession(BaseHTTPRequestHandler):
    server: HttpSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.posts.append((self.path, body))
        if self.server.silent:
            self.server.go_on.wait(HANG_SECONDS)
        while self.server.drips and not self.server.go_on.wait(PAUSE_SECONDS):
            with suppress(OSError):
                self.wfile.write(b"H")
        if self.server.drips:
            return
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        if self.server.elsewhere:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


Server = TypeVar("Server", SmtpSink, HttpSink)


@contextmanager
def served(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
