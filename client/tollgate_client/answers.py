"""What an HTTP answer of the service means. Pure, shared by every way of sending."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from .errors import InvalidRequest, Refused, TollgateError, Unavailable


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds the service asks to wait: the header is a number of them, or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    moment = _http_date(text)
    return max(0.0, (moment - service_now(response)).total_seconds()) if moment else None


def service_now(response: httpx2.Response) -> datetime:
    """The service's clock where it tells it, so that a wrong local clock does no harm."""
    return _http_date(response.headers.get("Date", "")) or datetime.now(UTC)


def seconds_until(moment: datetime | None, response: httpx2.Response) -> float | None:
    return None if moment is None else (moment - service_now(response)).total_seconds()


def body_of(response: httpx2.Response) -> Mapping[str, Any]:
    """The JSON object of an answer; something else (a proxy's page) is no answer of the service."""
    try:
        data = response.json()
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise Unavailable(f"status {response.status_code} without a JSON object")
    return data


def denial_of(response: httpx2.Response) -> str:
    return response.headers.get("Tollgate-Denial", "")


def failure(response: httpx2.Response) -> TollgateError:
    """The exception that an answer other than a success stands for."""
    status = response.status_code
    try:
        data = body_of(response)
    except Unavailable as error:
        return error
    text = str(data.get("error", "")) or f"status {status}"
    denial = denial_of(response)
    if denial:
        return Refused(
            status=status,
            denial=denial,
            error=text,
            retry_after=retry_after(response),
            reset_at=_reset_at(response),
        )
    if status in (401, 403):
        return Refused(status=status, denial="token", error=text)
    if 400 <= status < 500:
        fields = data.get("fields")
        return InvalidRequest(
            status=status, error=text, fields=fields if isinstance(fields, dict) else None
        )
    return Unavailable(f"{text} (status {status})")


def _reset_at(response: httpx2.Response) -> datetime | None:
    text = response.headers.get("Tollgate-Reset-At", "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
