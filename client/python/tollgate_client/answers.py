"""What an HTTP answer means. Pure, shared by every way of sending.

Between the program and its Tollgate stand proxies, and each answers in its own way when the service
is away. Whatever arrives becomes a value or one of the package's errors, never anything else.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from .errors import InvalidRequest, Refused, TollgateError, Unavailable

OVERLOADED = "overloaded"  # a denial of nothing in particular: the service had no time
LONGEST_WAIT_SECONDS = 366 * 86400.0
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "").strip()


def retry_after(answer: Answer) -> float | None:
    """Seconds the service asks to wait: the header is a number of them, or a date. None where it is
    neither; never negative."""
    text = answer.header("Retry-After")
    if _DIGITS.fullmatch(text):
        return min(float(text), LONGEST_WAIT_SECONDS)
    seconds = seconds_until(_http_date(text), answer)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_WAIT_SECONDS)


def service_now(answer: Answer) -> datetime:
    """The service's clock where it tells it, so that a wrong local clock does no harm."""
    return _http_date(answer.header("Date")) or datetime.now(UTC)


def seconds_until(moment: datetime | None, answer: Answer) -> float | None:
    return None if moment is None else (moment - service_now(answer)).total_seconds()


def body_of(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of an answer. Raises Unavailable for anything else (a proxy's page), which is
    no answer of the service."""
    try:
        data = json.loads(answer.content)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise Unavailable(f"status {answer.status} without a JSON object")
    return data


def denial_of(answer: Answer) -> str:
    return answer.header("Tollgate-Denial")


def failure(answer: Answer) -> TollgateError:
    """The exception that an answer other than a success stands for."""
    status = answer.status
    try:
        data = body_of(answer)
    except Unavailable as error:
        return error
    text, denial = data.get("error"), denial_of(answer)
    if not isinstance(text, str) or not text:
        if not denial:  # every error of the service has a text
            return Unavailable(f"status {status} with a JSON object of somebody else")
        text = f"status {status}"
    if denial and denial != OVERLOADED:
        return Refused(
            status=status,
            denial=denial,
            error=text,
            retry_after=retry_after(answer),
            reset_at=_reset_at(answer),
            subject=_subject(answer),
        )
    if status in (401, 403):
        return Refused(status=status, denial="token", error=text)
    if status == 404 and text == "not found":  # what the service says of an unknown address
        text = "not found: TOLLGATE_URL is the address of the service, without /api"
    if 400 <= status < 500 and status not in (408, 425, 429):
        return InvalidRequest(status=status, error=text, fields=_fields(data.get("fields")))
    return Unavailable(f"{text} (status {status})")


def _fields(data: object) -> dict[str, list[str]]:
    if not isinstance(data, dict):
        return {}
    return {
        str(name): [str(text) for text in texts]
        for name, texts in data.items()
        if isinstance(texts, list)
    }


def _subject(answer: Answer) -> str:
    scope = answer.header("Tollgate-Denial-Scope")
    name = unquote(answer.header("Tollgate-Denial-Subject"))
    return f"{scope}:{name}" if scope and name else scope


def _reset_at(answer: Answer) -> datetime | None:
    try:
        return _in_utc(datetime.fromisoformat(answer.header("Tollgate-Reset-At")))
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> datetime | None:
    try:
        return _in_utc(parsedate_to_datetime(text))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
