"""One attempt to send, in a process of its own, which is ended when its time is over.

No timeout of a library bounds an attempt: each holds for one read, and a server that drips never
reaches it. So the attempt runs in a child process (`Attempt`), which has no use for the database
and says how far it got. What is noted of an error is its kind and a status code, never its text:
that may repeat an address with a token in it, or what the other side answered.
"""

import http.client
import logging
import multiprocessing
import os
import re
import signal
import smtplib
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from multiprocessing.connection import Connection
from typing import Any

from django.utils import timezone

from opslog.private_networks import PrivateTarget, check_host, public_only

ATTEMPT_SECONDS = 30.0
CONNECT_SECONDS = 10.0
# These never leave the machine, whatever the setting says.
LOCAL_SERVICES = frozenset(
    ("blink1", "dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows")
)
ON_A_PRIVATE_NETWORK = (
    "Refused: the target is on a private network. NOTIFY_PRIVATE_NETWORKS=1 allows it."
)
STATUS_IN_LOG = re.compile(r"error=([1-5]\d\d)\b")
TRY_AGAIN = frozenset({408, 425, 429})  # of the 4xx; every other one is permanent
MENTION = re.compile(r"(?<!\w)@(?=\w)|<(?=[!@#])")
ZERO_WIDTH = "\u200b"
NOTIFY_TYPES = {"info": "info", "warning": "warning", "error": "failure", "critical": "failure"}


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = False
    use_ssl: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    server: MailServer
    sender: str
    to: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Post:
    """A message to a channel. `url` is apprise's, and a credential."""

    url: str = field(repr=False)
    title: str
    body: str
    severity: str
    private_allowed: bool
    app_url: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. With a `reason` it was not delivered; `final`: another attempt
    cannot help; `unconfirmed`: handed over whole, without an answer; `target_down`: it is the
    server, so the other messages to it need not be tried now. `wait`: seconds that the service
    asked for."""

    reason: str = ""
    final: bool = False
    unconfirmed: bool = False
    target_down: bool = False
    wait: float | None = None


@dataclass(slots=True)
class Progress:
    """How far an attempt got, told to the parent process as it happens."""

    pipe: "Connection[Any, Any] | None" = None
    handed_over: bool = False
    status: int | None = None
    wait: float | None = None
    timed_out: bool = False

    def note(self, **columns: Any) -> None:
        for name, value in columns.items():
            setattr(self, name, value)
        if self.pipe is not None:
            self.pipe.send(columns)


class Attempt:
    """`send(what)` in a child process, with an end."""

    def __init__(self, what: Mail | Post, *, seconds: float | None = None) -> None:
        self.until = time.monotonic() + (ATTEMPT_SECONDS if seconds is None else seconds)
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self._seen = Progress()
        fork = multiprocessing.get_context("fork")
        self._child = fork.Process(target=_child, args=(what, theirs), daemon=True)
        with warnings.catch_warnings():  # of threads beside: the child uses nothing of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child.start()
        theirs.close()

    def poll(self) -> Outcome | None:
        """What came of it; None while it is under way. After its time it is ended."""
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                said = self.pipe.recv()
                if isinstance(said, Outcome):
                    self._end()
                    return said
                self._seen.note(**said)
        if self._child.is_alive() and time.monotonic() < self.until:
            return None
        hung = self._child.is_alive()
        self._end()
        if not hung:
            return self._without_answer("The sending process ended")
        return self._without_answer("No answer in time")

    def _without_answer(self, how: str) -> Outcome:
        seen = self._seen
        if seen.status is not None and 200 <= seen.status < 300:
            return Outcome()
        if seen.handed_over:
            return Outcome(
                f"{how}, after it was handed over: it has probably arrived.",
                unconfirmed=True,
                target_down=True,
            )
        return Outcome(f"{how}.", target_down=True)

    def _end(self) -> None:
        self._child.kill()
        self._child.join()
        self._child.close()
        self.pipe.close()


def _child(what: Mail | Post, pipe: "Connection[Any, Any]") -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(int(ATTEMPT_SECONDS) + 30)  # should the parent be gone
    try:
        pipe.send(send(what, Progress(pipe)))
    except Exception as error:  # whatever it is, the parent goes on
        pipe.send(Outcome(f"{kind_of(error)}."))
    finally:
        pipe.close()
        os._exit(0)


def send(what: Mail | Post, progress: Progress) -> Outcome:
    return send_mail(what, progress) if isinstance(what, Mail) else post(what, progress)


class _Smtp(smtplib.SMTP):
    progress: Progress
    _host: str

    def send(self, s: Any) -> None:
        super().send(s)
        if isinstance(s, bytes) and s.endswith(b"\r\n.\r\n"):  # the end of the text
            self.progress.note(handed_over=True)


class _SmtpOverTls(_Smtp, smtplib.SMTP_SSL):
    pass


def send_mail(mail: Mail, progress: Progress) -> Outcome:
    try:
        _hand_over(mail, progress)
    except (smtplib.SMTPException, OSError) as error:
        return _of_mail(error, progress)
    return Outcome()


def _hand_over(mail: Mail, progress: Progress) -> None:
    server, context = mail.server, ssl.create_default_context()
    smtp: _Smtp = (
        _SmtpOverTls(timeout=ATTEMPT_SECONDS, context=context)
        if server.use_ssl
        else _Smtp(timeout=ATTEMPT_SECONDS)
    )
    smtp.progress = progress
    with _closed(smtp):
        smtp._host = server.host  # whom TLS is for (smtplib sets it only with a host)
        code, _ = smtp.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, b"")
        if server.use_tls:
            smtp.starttls(context=context)
        if server.username:
            smtp.login(server.username, server.password)
        smtp.sendmail(mail.sender, [mail.to], mail.content)
        with suppress(OSError, smtplib.SMTPException):
            smtp.putcmd("quit")  # and no waiting: it is delivered


@contextmanager
def _closed(smtp: smtplib.SMTP) -> Iterator[None]:
    try:
        yield
    finally:
        smtp.close()


def _of_mail(error: Exception, progress: Progress) -> Outcome:
    code = code_of(error)
    reason = f"{type(error).__name__}{f' {code}' if code else ''}."
    if code is not None:
        return Outcome(reason, final=500 <= code < 600, target_down=code == 421)
    if progress.handed_over:
        return Outcome(reason, unconfirmed=True, target_down=True)
    return Outcome(reason, target_down=True)


def code_of(error: BaseException) -> int | None:
    """The code of an SMTP server; of several recipients, the worst of the temporary ones."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return min((code for code, _ in error.recipients.values()), default=None)
    code = getattr(error, "smtp_code", None)
    return code if isinstance(code, int) and code > 0 else None


def kind_of(error: BaseException) -> str:
    """The class of an error, and a status code of SMTP: its text may hold what is secret."""
    code = code_of(error)
    return f"{type(error).__name__} {code}" if code else type(error).__name__


class NotUnderstood(Exception):
    """The text is safe to be stored and shown."""


def open_channel(url: str, *, app_url: str = "") -> tuple[Any, Any]:
    """apprise's service and sender of an address. Raises NotUnderstood."""
    import apprise

    scheme = url.partition("://")[0].lower()
    if scheme in LOCAL_SERVICES:
        raise NotUnderstood(f"Refused: {scheme} reaches this machine only.")
    asset = apprise.AppriseAsset(
        app_id="Tollgate",
        app_desc="Tollgate",
        app_url=app_url,
        async_mode=False,
        http_redirects=False,
        service_timeout=0,  # the process is ended instead
    )
    with what_apprise_says():
        service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        raise NotUnderstood("This address in NOTIFY_URLS is not understood.")
    service.redirects = False  # `?redirect=yes` in the address would win over the asset
    # A text over the limit of the service is sent in parts; upstream it would be refused.
    service.overflow_mode = apprise.OverflowMode.SPLIT
    service.socket_read_timeout = ATTEMPT_SECONDS
    service.socket_connect_timeout = CONNECT_SECONDS
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    return service, sender


def understood(url: str) -> bool:
    """Whether `open_channel` would take the address. Nothing is sent."""
    try:
        open_channel(url)
    except NotUnderstood:
        return False
    return True


def post(what: Post, progress: Progress) -> Outcome:
    try:
        service, sender = open_channel(what.url, app_url=what.app_url)
    except NotUnderstood as error:
        return Outcome(str(error), final=True)
    if not what.private_allowed and has_host(service):
        try:
            check_host(service.host)
        except PrivateTarget:
            return Outcome(ON_A_PRIVATE_NETWORK, final=True)
        except OSError:
            return Outcome("The name of the target is not known.", target_down=True)
    guard: AbstractContextManager[list[str]] = (
        nullcontext([]) if what.private_allowed else public_only()
    )
    with what_apprise_says() as lines, _watched(progress), guard as refused:
        delivered = sender.notify(
            title=harmless(what.title),
            body=harmless(what.body),
            body_format="text",
            notify_type=NOTIFY_TYPES.get(what.severity, "info"),
        )
    if refused:
        return Outcome(ON_A_PRIVATE_NETWORK, final=True)
    if delivered:
        return Outcome()
    return _of_post(progress, lines)


def _of_post(progress: Progress, lines: list[str]) -> Outcome:
    if progress.status is None and progress.handed_over and progress.timed_out:
        return Outcome("No answer after it was handed over.", unconfirmed=True, target_down=True)
    said = STATUS_IN_LOG.findall(" ".join(lines))
    status = progress.status or (int(said[-1]) if said else None)
    if status is None:
        return Outcome("No answer, or an error.", target_down=True)
    permanent = 400 <= status < 500 and status not in TRY_AGAIN
    return Outcome(f"The service answered {status}.", final=permanent, wait=progress.wait)


def harmless(text: str) -> str:
    """Without mentions (`@everyone`, `<!channel>`): a character of no width breaks them."""
    return MENTION.sub(lambda found: found.group() + ZERO_WIDTH, text)


def has_host(service: Any) -> bool:
    """Whether the host of the address is one; of most services that part is a token."""
    return bool(service.host) and any("{host}" in template for template in service.templates)


def retry_after(text: str | None) -> float | None:
    """Seconds that a Retry-After asks for: a number, or a date. None for what is neither. Pure, but
    for the clock."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    return max(0.0, (at - timezone.now()).total_seconds())


@contextmanager
def _watched(progress: Progress) -> Iterator[None]:
    """Notes of the HTTP requests meanwhile what apprise does not tell: that one was sent whole, its
    status, and how long to wait."""
    import requests

    adapter, answered = requests.adapters.HTTPAdapter.send, http.client.HTTPConnection.getresponse

    def send_one(self: Any, *args: Any, **kwargs: Any) -> Any:
        progress.note(handed_over=False, status=None, wait=None, timed_out=False)
        try:
            answer = adapter(self, *args, **kwargs)
        except requests.exceptions.ReadTimeout:
            progress.note(timed_out=True)
            raise
        progress.note(
            status=answer.status_code, wait=retry_after(answer.headers.get("Retry-After"))
        )
        return answer

    def get_answer(self: Any) -> Any:
        progress.note(handed_over=True)
        return answered(self)

    requests.adapters.HTTPAdapter.send = send_one  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = get_answer  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.adapters.HTTPAdapter.send = adapter  # type: ignore[method-assign]
        http.client.HTTPConnection.getresponse = answered  # type: ignore[method-assign]


@contextmanager
def what_apprise_says() -> Iterator[list[str]]:
    """Its log lines, kept from the log: they repeat addresses, hosts and payloads."""
    lines: list[str] = []
    logger = logging.getLogger("apprise")
    handler = _Keep(lines)
    before = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate, level = before
        logger.setLevel(level)


class _Keep(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
