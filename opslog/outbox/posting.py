"""One message to one channel, by apprise. Runs in the child process of an attempt."""

import http.client
import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from django.utils import timezone

from opslog.outbox.attempts import CONNECT_SECONDS, OF_A_READ, Outcome, Progress
from opslog.outbox.private_networks import PrivateTarget, check_host, public_only

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
class Post:
    """A message to a channel. `url` is apprise's, and a credential."""

    url: str = field(repr=False)
    title: str
    body: str
    severity: str
    private_allowed: bool
    app_url: str


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
    service.socket_read_timeout = OF_A_READ
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
        return Outcome(
            "No answer after it was handed over: it has probably arrived.",
            unconfirmed=True,
            target_down=True,
        )
    logged = STATUS_IN_LOG.findall(" ".join(lines))
    status = progress.status or (int(logged[-1]) if logged else None)
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
