"""Cap changes over HTTP: asked for by a token, read and decided by people in a session."""

from typing import Any, cast

import django_filters
import msgspec
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import approvals
from budgets.api import cap_changes_schema as schema
from budgets.api.cap_change_bodies import (
    AnswersBody,
    AskBody,
    CancelBody,
    DecisionBody,
    caps,
    impact,
    interval,
)
from budgets.api.sessions import SessionView
from budgets.approvals.wording import FIELD_NAMES
from budgets.evidence import snapshot
from budgets.exceptions import Conflict, PasswordRequired, Refused, SecondFactorRequired
from budgets.models import ChangeRequest, Measure
from budgets.usage import overview
from opslog.api.errors import BadRequest, TokenDenied
from opslog.api.filters import ChoiceFilter, KnownFiltersOnly
from opslog.api.pagination import KeysetPagination
from opslog.api.requests import RawJSONParser, decode, principal_of
from opslog.confirmed import confirmed_lately, second_factor_at
from opslog.pricing.money import usd_text
from workorders.models import WorkOrder

ASK = msgspec.json.Decoder(AskBody)
DECIDE = msgspec.json.Decoder(DecisionBody)
CANCEL = msgspec.json.Decoder(CancelBody)
PARTY = {
    "requester": "requester",
    "token_owner": "tokenOwner",
    "token_maker": "tokenMaker",
    "subject_owner": "subjectOwner",
    "subject_maker": "subjectMaker",
}
IN_TEXT = (
    Measure.USD_PER_DAY,
    Measure.SHARED_LIMIT,
    Measure.FEATURE_COST_CAP,
    Measure.MAX_RUN_USD,
)


class ChangeSerializer(serializers.ModelSerializer[ChangeRequest]):
    """A request as lists show it."""

    workOrderId = serializers.SerializerMethodField()
    subjectType = serializers.CharField(source="subject_type")
    subjectId = serializers.CharField(source="subject_id")
    status = serializers.SerializerMethodField()
    requester = serializers.CharField(source="requester.username")
    token = serializers.SerializerMethodField()
    byProgram = serializers.BooleanField(source="is_programs")
    changes = serializers.SerializerMethodField()
    expectedCostImpact = serializers.CharField(source="expected_cost_impact")
    since = serializers.DateTimeField(source="grant_from", allow_null=True)
    until = serializers.DateTimeField(source="grant_until", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")
    decidedAt = serializers.DateTimeField(source="decided_at", allow_null=True)
    closingNote = serializers.CharField(source="closing_note")

    class Meta:
        model = ChangeRequest
        fields: tuple[str, ...] = (
            "id",
            "workOrderId",
            "subjectType",
            "subjectId",
            "status",
            "revision",
            "requester",
            "token",
            "byProgram",
            "changes",
            "justification",
            "expectedCostImpact",
            "since",
            "until",
            "createdAt",
            "expiresAt",
            "decidedAt",
            "closingNote",
        )

    @schema.field({"type": ["string", "null"]})
    def get_workOrderId(self, change: ChangeRequest) -> str | None:
        """Null where a shared limit, or those of a feature, are to be raised."""
        return change.subject_id if change.subject_type == approvals.WORK_ORDER else None

    @schema.field(schema.TOKEN)
    def get_token(self, change: ChangeRequest) -> dict[str, str] | None:
        """What a program asked with, also after a person has taken the request over."""
        token = change.token
        return None if token is None else {"name": token.name, "prefix": token.prefix}

    @schema.field(schema.STATUS)
    def get_status(self, change: ChangeRequest) -> str:
        return change.state

    @schema.field(schema.CHANGES)
    def get_changes(self, change: ChangeRequest) -> dict[str, Any]:
        return {
            FIELD_NAMES[line.measure]: {
                "old": _value(line.measure, line.old),
                "new": _value(line.measure, line.new),
            }
            for line in change.lines.all()
        }


class ChangeDetailSerializer(ChangeSerializer):
    """One request: with its signatures, its votes, and whether the reader may decide."""

    signatures = serializers.SerializerMethodField()
    votes = serializers.SerializerMethodField()
    parties = serializers.SerializerMethodField()
    mayDecide = serializers.SerializerMethodField()
    whyNot = serializers.SerializerMethodField()
    needsConfirmation = serializers.SerializerMethodField()
    impossible = serializers.SerializerMethodField()

    class Meta(ChangeSerializer.Meta):
        fields = (
            *ChangeSerializer.Meta.fields,
            "signatures",
            "votes",
            "parties",
            "mayDecide",
            "whyNot",
            "needsConfirmation",
            "impossible",
        )

    @schema.field(schema.SIGNATURES)
    def get_signatures(self, change: ChangeRequest) -> list[dict[str, Any]]:
        return [
            {"group": slot.group, "signedBy": slot.filled_by or None}
            for slot in overview.signatures(change)
        ]

    @schema.field(schema.VOTES)
    def get_votes(self, change: ChangeRequest) -> list[dict[str, Any]]:
        return [
            {
                "voter": vote.voter.get_username(),
                "decision": vote.decision,
                "comment": vote.comment,
                "revision": vote.revision,
                "soloOperator": vote.second_factor_at is not None,
                "createdAt": vote.created_at,
            }
            for vote in change.votes.select_related("voter").order_by("id")
        ]

    @schema.field(schema.PARTIES)
    def get_parties(self, change: ChangeRequest) -> list[dict[str, Any]]:
        """Who cannot decide because the request is theirs."""
        return [
            {"person": name, "roles": [PARTY[role] for role in roles]}
            for name, roles in approvals.named_parties(change)
        ]

    @schema.field({"type": "boolean"})
    def get_mayDecide(self, change: ChangeRequest) -> bool:
        return not self.get_whyNot(change)

    @schema.field({"type": "string"})
    def get_whyNot(self, change: ChangeRequest) -> str:
        """Why the reader may not decide; empty where they may."""
        return approvals.may_decide(change, self.context["request"].user)

    @schema.field({"type": "boolean"})
    def get_needsConfirmation(self, change: ChangeRequest) -> bool:
        return approvals.needs_password(change)

    @schema.field({"type": "string"})
    def get_impossible(self, change: ChangeRequest) -> str:
        return approvals.impossible(change)


class ChangeFilter(django_filters.FilterSet):
    status = ChoiceFilter(choices=ChangeRequest.Status)
    workOrder = django_filters.CharFilter(method="of_work_order", max_length=100)

    class Meta:
        model = ChangeRequest
        fields: list[str] = []

    def of_work_order(
        self, queryset: "QuerySet[ChangeRequest]", name: str, value: str
    ) -> "QuerySet[ChangeRequest]":
        return queryset.filter(subject_type=approvals.WORK_ORDER, subject_id=value)


class NewestFirst(KeysetPagination):
    ordering = "-id"


def _changes() -> "QuerySet[ChangeRequest]":
    return ChangeRequest.objects.select_related("requester", "token").prefetch_related("lines")


def _value(measure: str, value: Any) -> str | int:
    return usd_text(value) if measure in IN_TEXT else int(value)


def _answer(change: ChangeRequest, request: Request, status: int = 200) -> Response:
    read = _changes().get(pk=change.pk)
    return Response(ChangeDetailSerializer(read, context={"request": request}).data, status=status)


def refusal(error: Refused, *, forbidden: bool = False) -> Response:
    """409 for whoever came second, 403 for whoever may not, 422 for what the rules do not allow."""
    if isinstance(error, PasswordRequired):
        by_factor = isinstance(error, SecondFactorRequired)
        headers = {"Tollgate-Denial": "second_factor" if by_factor else "confirmation"}
        return Response({"error": str(error)}, status=403, headers=headers)
    status = 409 if isinstance(error, Conflict) else 403 if forbidden else 422
    return Response({"error": str(error)}, status=status)


class WorkOrderChanges(APIView):
    """For programs: the token's owner is the requester. Nothing is decided here."""

    required_scope = "request"
    parser_classes = (RawJSONParser,)

    @schema.ask
    def post(self, request: Request, wo_id: str) -> Response:
        body = decode(ASK, request.data)
        get_object_or_404(WorkOrder.objects.only("id"), pk=wo_id)
        since, until = interval(body)
        owner = User.objects.get(pk=principal_of(request).owner_id)
        if not owner.has_perm("budgets.ask_changerequest"):
            raise TokenDenied(403, "scope", "this token's owner may not request cap changes")
        try:
            made = approvals.ask(
                wo_id,
                new=caps(body),
                justification=body.justification,
                expected_cost_impact=impact(body),
                by=owner,
                grant_from=since,
                grant_until=until,
                token_id=principal_of(request).token_id,
            )
        except Refused as error:
            return refusal(error)
        read = _changes().get(pk=made.pk)
        return Response(ChangeSerializer(read).data, status=201)


class ChangeList(SessionView, generics.ListAPIView[ChangeRequest]):
    permission = "budgets.view_changerequest"
    serializer_class = ChangeSerializer
    pagination_class = NewestFirst
    filter_backends = (KnownFiltersOnly,)
    filterset_class = ChangeFilter
    queryset = _changes()

    @schema.list_them(ChangeSerializer)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class ChangeDetail(SessionView):
    permission = "budgets.view_changerequest"

    @schema.read
    def get(self, request: Request, change_id: int) -> Response:
        return _answer(get_object_or_404(ChangeRequest, pk=change_id), request)


class ChangeDecision(SessionView):
    permission = "budgets.decide_changerequest"
    parser_classes = (RawJSONParser,)

    @schema.decide
    def post(self, request: Request, change_id: int) -> Response:
        body = decode(DECIDE, request.data)
        change = get_object_or_404(_changes(), pk=change_id)
        person = cast(User, request.user)
        reason = approvals.may_decide(change, person)
        over = change.state != ChangeRequest.Status.PENDING
        if reason and not over:
            return Response({"error": reason}, status=403)
        if not over:
            _require_answers(body)
        try:
            decided = approvals.decide(
                change.pk,
                by=person,
                decision=body.decision,
                comment=body.comment,
                seen_revision=body.revision,
                evidence={} if over else snapshot(change) | _answers(body),
                password_confirmed=confirmed_lately(request._request),
                second_factor_at=second_factor_at(request._request),
            )
        except Refused as error:
            return refusal(error)
        return _answer(decided, request)


class ChangeCancel(SessionView):
    permission = "budgets.ask_changerequest"
    parser_classes = (RawJSONParser,)

    @schema.cancel
    def post(self, request: Request, change_id: int) -> Response:
        body = decode(CANCEL, request.data)
        change = get_object_or_404(ChangeRequest, pk=change_id)
        person = cast(User, request.user)
        mine = change.requester_id == person.pk
        try:
            if mine:
                cancelled = approvals.cancel(change.pk, by=person)
            else:
                cancelled = approvals.set_aside(change.pk, by=person, reason=body.reason or "")
        except Refused as error:
            may = mine or approvals.may_set_aside(change, person)
            return refusal(error, forbidden=not may)
        return _answer(cancelled, request)


class ChangeEdit(SessionView):
    permission = "budgets.ask_changerequest"
    parser_classes = (RawJSONParser,)

    @schema.edit
    def post(self, request: Request, change_id: int) -> Response:
        body = decode(ASK, request.data)
        change = get_object_or_404(ChangeRequest, pk=change_id)
        person = cast(User, request.user)
        since, until = interval(body)
        try:
            edited = approvals.edit(
                change.pk,
                new=caps(body),
                justification=body.justification,
                expected_cost_impact=impact(body),
                by=person,
                grant_from=since,
                grant_until=until,
            )
        except Refused as error:
            return refusal(error, forbidden=not approvals.may_edit(change, person))
        return _answer(edited, request)


def _require_answers(body: DecisionBody) -> None:
    """Who approves has answered the three questions, here as in the admin; a refusal may leave them
    out. Raises BadRequest."""
    told = body.answers or AnswersBody()
    missing = [n for n in ("legitimate", "reasonable", "optimise") if getattr(told, n) is None]
    if body.decision == "approve" and missing:
        fields = {f"answers.{name}": ["Answer this to approve."] for name in missing}
        raise BadRequest("bad input", fields)


def _answers(body: DecisionBody) -> dict[str, Any]:
    """What was answered to the three risk questions, in the shape that the admin keeps."""
    if body.answers is None:
        return {}
    told = {
        "legitimate": body.answers.legitimate,
        "reasonable": body.answers.reasonable,
        "optimise": body.answers.optimise,
    }
    return {
        "answers": {name: {"answer": answer, "note": ""} for name, answer in told.items() if answer}
    }
