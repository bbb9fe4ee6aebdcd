"""What the endpoints of cap changes take and answer."""

from typing import Annotated, Any, Literal, Self

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from msgspec import UNSET, Meta, UnsetType, field

from budgets import approvals
from budgets.api.requests import Usd as UsdBody
from budgets.api.requests import money
from budgets.models import ChangeLine, ChangeRequest, Measure, Vote
from budgets.usage import overview
from opslog.api.answers import Answer, Moment, Usd
from opslog.api.errors import BadRequest
from opslog.api.filters import in_utc
from opslog.api.requests import Body

# Lines and tabs, but no other control characters.
PROSE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Why = Annotated[str, Meta(min_length=1, max_length=2000, pattern=PROSE)]
Impact = Annotated[str, Meta(min_length=1, max_length=500, pattern=PROSE)]


class AskBody(Body, frozen=True):
    """Every cap that is left out stays as it is."""

    justification: Why
    expected_cost_impact: Impact
    runs_per_day: Count | None = None
    usd_per_day: UsdBody | None = None
    max_concurrent_runs: Count | None = None
    since: Moment | None = field(default=None, name="from")
    until: Moment | None = None


YesOrNo = Literal["yes", "no", "unsure"]


class AnswersBody(Body, frozen=True):
    """The three risk questions, as the admin asks them of who approves."""

    legitimate: YesOrNo | None = None
    reasonable: YesOrNo | None = None
    optimise: YesOrNo | None = None


class DecisionBody(Body, frozen=True):
    decision: Literal["approve", "refuse"]
    comment: Why
    revision: Annotated[int, Meta(ge=1, le=2_000_000_000, description="The one that was seen.")]
    answers: AnswersBody | None = None


class CancelBody(Body, frozen=True):
    """The reason is of who sets aside what a program requested."""

    reason: Why | None = None


def asked_of(body: AskBody) -> dict[str, Any]:
    """What `approvals.ask` and `approvals.edit` take. Raises BadRequest for an impact of blanks,
    and for a moment that UTC has no name for."""
    impact = body.expected_cost_impact.strip()
    if not impact:
        raise BadRequest("bad input", {"expectedCostImpact": ["Expected more than blanks"]})
    moments = {"from": body.since, "until": body.until}
    for name, moment in moments.items():
        try:
            moments[name] = None if moment is None else in_utc(moment)
        except ValidationError:
            raise BadRequest("bad input", {name: ["Expected a moment that UTC has"]}) from None
    return {
        "new": {
            Measure.RUNS_PER_DAY: body.runs_per_day,
            Measure.USD_PER_DAY: money(body.usd_per_day, "usdPerDay"),
            Measure.MAX_CONCURRENT_RUNS: body.max_concurrent_runs,
        },
        "justification": body.justification,
        "expected_cost_impact": impact,
        "grant_from": moments["from"],
        "grant_until": moments["until"],
    }


class Token(Answer):
    name: str
    prefix: str


class CountChange(Answer):
    old: int
    new: int


class UsdChange(Answer):
    old: Usd
    new: Usd


def _old_and_new(line: ChangeLine) -> CountChange | UsdChange:
    counts = (Measure.RUNS_PER_DAY, Measure.MAX_CONCURRENT_RUNS, Measure.FEATURE_THROTTLE)
    if line.measure in counts:
        return CountChange(int(line.old), int(line.new))
    return UsdChange.of(line)


class Changes(Answer, forbid_unknown_fields=True):
    """By measure; those that stay are left out."""

    runs_per_day: CountChange | UnsetType = UNSET
    usd_per_day: UsdChange | UnsetType = UNSET
    max_concurrent_runs: CountChange | UnsetType = UNSET
    shared_limit: UsdChange | UnsetType = field(default=UNSET, name="amount")
    feature_throttle: CountChange | UnsetType = field(default=UNSET, name="requestsPerPeriod")
    feature_cost_cap: UsdChange | UnsetType = field(default=UNSET, name="costCapUsd")
    max_run_usd: UsdChange | UnsetType = UNSET


class CapChange(Answer):
    """A request as lists show it. `workOrderId` is null where another limit is to be raised;
    `token` is what a program asked with, also after a person has taken the request over."""

    pk: int = field(name="id")
    work_order_id: str | None
    subject_type: Literal["work_order", "budget", "feature", "approval_limit", "service_token"]
    subject_id: str
    status: ChangeRequest.Status
    revision: Annotated[int, Meta(description="A vote counts for one revision only.")]
    requester: str
    token: Token | None
    is_programs: bool = field(name="byProgram")
    changes: Changes
    justification: str
    expected_cost_impact: str
    grant_from: Moment | None = field(name="since")
    grant_until: Moment | None = field(name="until")
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None
    closing_note: str

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        of_work_order = source.subject_type == approvals.WORK_ORDER
        changes: dict[str, Any] = {line.measure: _old_and_new(line) for line in source.lines.all()}
        return super().of(
            source,
            work_order_id=source.subject_id if of_work_order else None,
            status=source.state,
            requester=source.requester.username,
            changes=Changes(**changes),
            **computed,
        )


class Signature(Answer):
    group: str
    filled_by: str | None = field(name="signedBy")


class VoteCast(Answer):
    voter: str
    decision: Vote.Decision
    comment: str
    revision: int
    solo_operator: bool
    created_at: Moment


Role = Literal["requester", "tokenOwner", "tokenMaker", "subjectOwner", "subjectMaker"]
ROLES: dict[str, Role] = {
    "requester": "requester",
    "token_owner": "tokenOwner",
    "token_maker": "tokenMaker",
    "subject_owner": "subjectOwner",
    "subject_maker": "subjectMaker",
}


class Party(Answer):
    person: str
    roles: list[Role]


class WholeCapChange(CapChange):
    """With its signatures and votes, who cannot decide because it is theirs, and whether the
    reader may; `whyNot` is empty where they may."""

    signatures: list[Signature]
    votes: list[VoteCast]
    parties: list[Party]
    may_decide: bool
    why_not: str
    needs_confirmation: bool
    impossible: str

    @classmethod
    def read_by(cls, reader: User, change: ChangeRequest) -> Self:
        why_not = approvals.may_decide(change, reader)
        votes = change.votes.select_related("voter").order_by("id")
        return cls.of(
            change,
            signatures=[
                Signature(slot.group, slot.filled_by or None)
                for slot in overview.signatures(change)
            ],
            votes=[
                VoteCast.of(
                    vote,
                    voter=vote.voter.get_username(),
                    solo_operator=vote.second_factor_at is not None,
                )
                for vote in votes
            ],
            parties=[
                {"person": name, "roles": [ROLES[role] for role in roles]}
                for name, roles in approvals.named_parties(change)
            ],
            may_decide=not why_not,
            why_not=why_not,
            needs_confirmation=approvals.needs_password(change),
            impossible=approvals.impossible(change),
        )
