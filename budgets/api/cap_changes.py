"""Cap changes over HTTP: asked for by a token, read and decided by people in a session."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, cast

import django_filters
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema_view
from msgspec import UNSET, Meta, UnsetType, field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import approvals, overview
from budgets.api.requests import Usd as UsdBody
from budgets.api.requests import money
from budgets.api.sessions import SESSION, SESSION_AND_CSRF, SessionView
from budgets.evidence import evidence_for, limit_evidence
from budgets.exceptions import Conflict, PasswordRequired, Refused, SecondFactorRequired
from budgets.models import ChangeLine, ChangeRequest, Measure, Vote
from opslog.api.answers import Answer, Moment, Usd
from opslog.api.errors import BadRequest, TokenDenied
from opslog.api.filters import ChoiceFilter, in_utc
from opslog.api.pagination import Pages
from opslog.api.requests import Body, RawJSONParser
from opslog.api.schema import COMMON, NOT_FOUND, F, operation
from opslog.confirmed import confirmed_lately, second_factor_at
from workorders.api.auth import bearer
from workorders.models import WorkOrder

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
        # Whose time is over is expired, though nobody has touched it since.
        over = source.status == "pending" and source.expires_at <= timezone.now()
        return super().of(
            source,
            work_order_id=source.subject_id if of_work_order else None,
            status="expired" if over else source.status,
            requester=source.requester.username,
            changes=Changes(**{line.measure: _old_and_new(line) for line in source.lines.all()}),
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


Role = Literal["requester", "editor", "tokenOwner", "tokenMaker", "subjectOwner", "subjectMaker"]
ROLES: dict[str, Role] = {
    "requester": "requester",
    "editor": "editor",
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
    def read(cls, change_id: int, reader: User) -> Self:
        """As it is now, to somebody who may see it."""
        change = _changes().get(pk=change_id)
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


class ChangeFilter(django_filters.FilterSet):
    status = ChoiceFilter(choices=ChangeRequest.Status)
    workOrder = django_filters.CharFilter(method="of_work_order", max_length=100)

    def of_work_order(
        self, queryset: "QuerySet[ChangeRequest]", name: str, value: str
    ) -> "QuerySet[ChangeRequest]":
        return queryset.filter(subject_type=approvals.WORK_ORDER, subject_id=value)


def _changes() -> "QuerySet[ChangeRequest]":
    return ChangeRequest.objects.select_related("requester", "token").prefetch_related("lines")


def _answer(change_id: int, request: Request) -> Response:
    return Response(WholeCapChange.read(change_id, cast(User, request.user)))


def refusal(error: Refused, *, forbidden: bool = False) -> Response:
    """409 for whoever came second, 403 for whoever may not, 422 for what the rules do not allow."""
    if isinstance(error, PasswordRequired):
        by_factor = isinstance(error, SecondFactorRequired)
        headers = {"Tollgate-Denial": "second_factor" if by_factor else "confirmation"}
        return Response({"error": str(error)}, status=403, headers=headers)
    status = 409 if isinstance(error, Conflict) else 403 if forbidden else 422
    return Response({"error": str(error)}, status=status)


OUTCOMES = {
    409: "It was decided, changed or overtaken meanwhile: look again.",
    422: "The rules do not allow it; the text says which.",
}
RAISE = {
    "usdPerDay": "8.00",
    "justification": "Month end doubles the documents.",
    "expectedCostImpact": "$6 a day for a week",
}


def for_people(
    name: str, summary: str, description: str = "", *, auth: Any = SESSION_AND_CSRF, **kwargs: Any
) -> Callable[[F], F]:
    common = {
        400: COMMON[400],
        403: "No session, no CSRF token, a service token, or a person who may not.",
        503: COMMON[503],
        **NOT_FOUND,
        **(OUTCOMES if "body" in kwargs else {}),
    }
    return operation(
        name, summary, description, tag="cap changes", auth=auth, common=common, **kwargs
    )


class WorkOrderChanges(APIView):
    """For programs: the token's owner is the requester. Nothing is decided here."""

    required_scope = "request"
    parser_classes = (RawJSONParser,)

    @operation(
        "cap_change_ask",
        "Ask for other caps",
        "The token's owner becomes the requester; people decide, but neither the owner nor the "
        "token's maker. `from` and `until` make it a raise for a time. A person may take the "
        "request over or set it aside. Caps are lowered by a person in a session, not by a token.",
        tag="cap changes",
        body=AskBody,
        answers={201: ("It waits for approval.", CapChange)},
        errors={**NOT_FOUND, **OUTCOMES},
        examples={"A higher cap": RAISE},
    )
    def post(self, request: Request, wo_id: str) -> Response:
        asked = asked_of(AskBody.read(request.data))
        get_object_or_404(WorkOrder.objects.only("id"), pk=wo_id)
        owner = User.objects.get(pk=bearer(request).owner_id)
        if not owner.has_perm("budgets.ask_changerequest"):
            raise TokenDenied(403, "scope", "this token's owner may not request cap changes")
        try:
            made = approvals.ask(wo_id, by=owner, token_id=bearer(request).token_id, **asked)
        except Refused as error:
            return refusal(error)
        return Response(CapChange.of(_changes().get(pk=made.pk)), status=201)


@extend_schema_view(
    get=for_people(
        "cap_changes_list",
        "Cap changes, newest first",
        auth=SESSION,
        answers={200: ("A page.", CapChange)},
    )
)
class ChangeList(SessionView, Pages):
    permission = "budgets.view_changerequest"
    answer = CapChange
    filterset_class = ChangeFilter
    queryset = _changes()


class ChangeDetail(SessionView):
    permission = "budgets.view_changerequest"

    @for_people(
        "cap_change_read",
        "One cap change, with its signatures and votes",
        auth=SESSION,
        answers={200: ("The request.", WholeCapChange)},
    )
    def get(self, request: Request, change_id: int) -> Response:
        get_object_or_404(ChangeRequest, pk=change_id)
        return _answer(change_id, request)


class ChangeDecision(SessionView):
    permission = "budgets.decide_changerequest"
    parser_classes = (RawJSONParser,)

    @for_people(
        "cap_change_decide",
        "Approve or refuse",
        "For the `revision` that was seen. Over $50 a day an approval is 403 "
        "`confirmation` until the person has confirmed that it is them: a POST of the `password` "
        "to `/account/confirm/` in the same session, which counts for five minutes. "
        "The last signature that is needed applies the change.",
        body=DecisionBody,
        answers={200: ("Recorded; `status` says what came of it.", WholeCapChange)},
        examples={
            "An approval": {
                "decision": "approve",
                "comment": "Use and cost are as told.",
                "revision": 1,
                "answers": {"legitimate": "yes", "reasonable": "yes", "optimise": "no"},
            }
        },
    )
    def post(self, request: Request, change_id: int) -> Response:
        body = DecisionBody.read(request.data)
        change = get_object_or_404(_changes(), pk=change_id)
        person = cast(User, request.user)
        reason = approvals.may_decide(change, person)
        over = change.status != ChangeRequest.Status.PENDING or change.expires_at <= timezone.now()
        if reason and not over:
            return Response({"error": reason}, status=403)
        answers = body.answers.given() if body.answers else {}
        if body.decision == "approve" and not over:  # as in the admin; a refusal may leave them out
            missing = [name for name in AnswersBody.__struct_fields__ if name not in answers]
            if missing:
                fields = {f"answers.{name}": ["Answer this to approve."] for name in missing}
                raise BadRequest("bad input", fields)
        try:
            approvals.decide(
                change.pk,
                by=person,
                decision=body.decision,
                comment=body.comment,
                seen_revision=body.revision,
                evidence={} if over else _evidence(change, answers),
                password_confirmed=confirmed_lately(request._request),
                second_factor_at=second_factor_at(request._request),
            )
        except Refused as error:
            return refusal(error)
        return _answer(change_id, request)


class ChangeCancel(SessionView):
    permission = "budgets.ask_changerequest"
    parser_classes = (RawJSONParser,)

    @for_people(
        "cap_change_cancel",
        "Withdraw one's own request, or set a program's aside",
        "What a program requested (`byProgram`) is set aside by anybody who may request "
        "cap changes, with a `reason`. It ends without a decision.",
        body=CancelBody,
        answers={200: ("Withdrawn.", WholeCapChange)},
        examples={"Nothing more to say": {}},
    )
    def post(self, request: Request, change_id: int) -> Response:
        body = CancelBody.read(request.data)
        change = get_object_or_404(ChangeRequest, pk=change_id)
        person = cast(User, request.user)
        mine = change.requester_id == person.pk
        try:
            if mine:
                approvals.cancel(change.pk, by=person)
            else:
                approvals.set_aside(change.pk, by=person, reason=body.reason or "")
        except Refused as error:
            may = mine or approvals.may_set_aside(change, person)
            return refusal(error, forbidden=not may)
        return _answer(change_id, request)


class ChangeEdit(SessionView):
    permission = "budgets.ask_changerequest"
    parser_classes = (RawJSONParser,)

    @for_people(
        "cap_change_edit",
        "Change one's own open request, or take over a program's",
        "The votes so far count no more. The request's life does not begin anew. Who edits "
        "what a program requested (`byProgram`) is the requester from then on.",
        body=AskBody,
        answers={200: ("Changed; `revision` has gone up.", WholeCapChange)},
        examples={"Other values": {**RAISE, "usdPerDay": "7.50"}},
    )
    def post(self, request: Request, change_id: int) -> Response:
        asked = asked_of(AskBody.read(request.data))
        change = get_object_or_404(ChangeRequest, pk=change_id)
        person = cast(User, request.user)
        try:
            approvals.edit(change.pk, by=person, **asked)
        except Refused as error:
            return refusal(error, forbidden=not approvals.may_edit(change, person))
        return _answer(change_id, request)


def _evidence(change: ChangeRequest, answers: dict[str, str]) -> dict[str, Any]:
    """The same figures as the request's page, of this moment, and what was answered to the three
    risk questions, in the shape that the admin keeps."""
    noted = {name: {"answer": answer, "note": ""} for name, answer in answers.items()}
    kept = {"answers": noted} if answers else {}
    if change.subject_type != approvals.WORK_ORDER:
        of_limit = limit_evidence(change, now=timezone.now())
        return (of_limit.as_json() if of_limit else {}) | kept
    new = {line.measure: line.new for line in change.lines.all()}
    runs = new.get(Measure.RUNS_PER_DAY)
    evidence = evidence_for(
        change.subject_id,
        new_runs_per_day=None if runs is None else int(runs),
        new_usd_per_day=new.get(Measure.USD_PER_DAY),
        now=timezone.now(),
    )
    return evidence.as_json() | kept
