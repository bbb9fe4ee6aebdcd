"""How a decision becomes the answer to a request: status, headers, body. The views send it through
Django, the door of the web server as it is (docs/adr/0017)."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from budgets.admission import Decision, direct_spend, metrics
from opslog.api import errors
from opslog.exceptions import Unavailable
from opslog.pricing.money import usd_text

ENCODE = msgspec.json.Encoder().encode
COMPACT = msgspec.json.format


class DeniedBy(msgspec.Struct):
    """The shared limit that refused: `subject` is empty where it is one for everything."""

    scope: str
    subject: str


DENIED_BY = msgspec.json.Decoder(DeniedBy).decode


@dataclass(frozen=True, slots=True)
class Reply:
    """JSON, and the headers that are this answer's own; what all answers have comes later."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def measure(operation: str, decision: Decision, seconds: float) -> None:
    """For the metrics of all decisions; `seconds` from the parsed request on."""
    metrics.LATENCY.labels(operation).observe(seconds)
    if decision.denial:
        metrics.REFUSALS.labels(decision.denial).inc()


def render(decision: Decision, *, operation: str = "") -> Reply:
    """The database's own JSON, or the one-key shape of a refusal; for `check` and `spend` with the
    day in words."""
    if decision.denial:
        return refusal(decision)
    if operation in ("check", "spend"):
        body, status = with_day(msgspec.json.decode(decision.body)), 200
    else:
        body, status = decision.body.encode(), decision.status
    headers = {"Idempotent-Replayed": "true"} if decision.replayed else {}
    return Reply(status, COMPACT(body, indent=-1), headers)


def undecided(error: Unavailable) -> Reply:
    """A 503, counted: as the views' error handler has it."""
    metrics.UNAVAILABLE.inc()
    body, headers = errors.undecided(error)
    return Reply(503, ENCODE(body), headers)


def refusal(decision: Decision) -> Reply:
    headers = {"Tollgate-Denial": decision.denial}
    if decision.body:
        limit = DENIED_BY(decision.body)
        headers["Tollgate-Denial-Scope"] = limit.scope
        if limit.subject:  # a name in any script: headers are ASCII
            headers["Tollgate-Denial-Subject"] = quote(limit.subject, safe=":@")
    if decision.retry_after is not None:
        headers["Retry-After"] = str(decision.retry_after)
    if decision.reset_at is not None:
        headers["Tollgate-Reset-At"] = decision.reset_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if decision.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Reply(decision.status, ENCODE({"error": decision.error}), headers)


def with_day(answer: dict[str, Any]) -> bytes:
    """The answer of the database, with the day's status in words; for an estimate also whether it
    fits beside what is reserved."""
    day = direct_spend.status_of(answer.pop("day"))
    estimate = answer.get("estimatedUsd")
    fits: dict[str, bool | None] = {}
    if "estimatedUsd" in answer:
        unknown = estimate is None and answer.get("denial") == "unpriced_model"
        fits["fits"] = None if unknown else day.fits(Decimal(estimate or 0))
    return ENCODE(
        {
            **answer,
            **fits,
            "status": day.status,
            "spentUsd": usd_text(day.spent_usd),
            "reservedUsd": usd_text(day.reserved_usd),
            "remainingUsd": None if day.remaining_usd is None else usd_text(day.remaining_usd),
            "message": day.message,
        }
    )
