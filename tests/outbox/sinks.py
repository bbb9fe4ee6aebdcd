"""Real servers that messages are sent to: SMTP and HTTP, on the loopback address."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar


class SmtpSink(socketserver.ThreadingTCPServer):
    """Takes every mail; `refuse` makes it answer RCPT with that code."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SmtpSession)
        self.mails: list[EmailMessage] = []
        self.refuse = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class SmtpSession(socketserver.StreamRequestHandler):
    server: SmtpSink

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.say("220 sink")
        while command := self.rfile.readline().decode().strip().upper():
            if command.startswith("RCPT") and self.server.refuse:
                self.say(f"{self.server.refuse} no such person, password hunter2")
            elif command == "DATA":
                self.say("354 go on")
                self.server.mails.append(self.mail())
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
    """Keeps what is posted to it. `status` is its answer; 3xx leads to `elsewhere`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HttpSession)
        self.posts: list[tuple[str, str]] = []
        self.status = 200
        self.elsewhere = ""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class HttpSession(BaseHTTPRequestHandler):
    server: HttpSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.posts.append((self.path, body))
        self.send_response(self.server.status)
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
        server.shutdown()
        server.server_close()
        thread.join()
