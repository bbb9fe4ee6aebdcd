"""What the endpoints of cap changes take."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from django.core.exceptions import ValidationError
from msgspec import Meta

from budgets.api.requests import Usd, money
from budgets.models import Measure
from opslog.api.errors import BadRequest
from opslog.api.filters import in_utc
from opslog.api.requests import Body

# Lines and tabs, but no other control characters.
PROSE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Why = Annotated[str, Meta(min_length=1, max_length=2000, pattern=PROSE)]
Impact = Annotated[str, Meta(min_length=1, max_length=500, pattern=PROSE)]
Moment = Annotated[datetime, Meta(tz=True)]


class AskBody(Body, frozen=True):
    """Every cap that is left out stays as it is."""

    justification: Why
    expected_cost_impact: Impact
    runs_per_day: Count | None = None
    usd_per_day: Usd | None = None
    max_concurrent_runs: Count | None = None
    since: Moment | None = msgspec.field(default=None, name="from")
    until: Moment | None = None


Answer = Literal["yes", "no", "unsure"]


class AnswersBody(Body, frozen=True):
    """The three risk questions, as the admin asks them of who approves."""

    legitimate: Answer | None = None
    reasonable: Answer | None = None
    optimise: Answer | None = None


class DecisionBody(Body, frozen=True):
    decision: Literal["approve", "refuse"]
    comment: Why
    revision: Annotated[int, Meta(ge=1, le=2_000_000_000, description="The one that was seen.")]
    answers: AnswersBody | None = None


class CancelBody(Body, frozen=True):
    """The reason is of who sets aside what a program requested."""

    reason: Why | None = None


def impact(body: AskBody) -> str:
    """What it is expected to cost. Raises BadRequest for blanks."""
    if not (told := body.expected_cost_impact.strip()):
        raise BadRequest("bad input", {"expectedCostImpact": ["Expected more than blanks"]})
    return told


def caps(body: AskBody) -> dict[str, Decimal | int | None]:
    return {
        Measure.RUNS_PER_DAY: body.runs_per_day,
        Measure.USD_PER_DAY: money(body.usd_per_day, "usdPerDay"),
        Measure.MAX_CONCURRENT_RUNS: body.max_concurrent_runs,
    }


def interval(body: AskBody) -> tuple[datetime | None, datetime | None]:
    """From and until in UTC. Raises BadRequest for a moment that has no name there."""
    found = []
    for name, given in (("from", body.since), ("until", body.until)):
        try:
            found.append(None if given is None else in_utc(given))
        except ValidationError:
            raise BadRequest("bad input", {name: ["Expected a moment that UTC has"]}) from None
    return found[0], found[1]
