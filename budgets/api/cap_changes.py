"""Cap changes over HTTP: asked for by a token, read and decided by people in a session."""

from collections.abc import Callable
from typing import Any, cast

import django_filters
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import approvals
from budgets.api.cap_change_structs import (
    AnswersBody,
    AskBody,
    CancelBody,
    CapChange,
    DecisionBody,
    WholeCapChange,
    asked_of,
)
from budgets.api.sessions import SESSION, SESSION_AND_CSRF, SessionView
from budgets.evidence import snapshot
from budgets.exceptions import Conflict, PasswordRequired, Refused, SecondFactorRequired
from budgets.models import ChangeRequest
from opslog.api.errors import BadRequest, TokenDenied
from opslog.api.filters import ChoiceFilter
from opslog.api.pagination import Pages
from opslog.api.requests import RawJSONParser, principal_of
from opslog.api.schema import COMMON, NOT_FOUND, F, operation
from opslog.confirmed import confirmed_lately, second_factor_at
from workorders.models import WorkOrder


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
    change = _changes().get(pk=change_id)
    return Response(WholeCapChange.read_by(cast(User, request.user), change))


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
        body = AskBody.read(request.data)
        get_object_or_404(WorkOrder.objects.only("id"), pk=wo_id)
        asked = asked_of(body)
        owner = User.objects.get(pk=principal_of(request).owner_id)
        if not owner.has_perm("budgets.ask_changerequest"):
            raise TokenDenied(403, "scope", "this token's owner may not request cap changes")
        try:
            made = approvals.ask(wo_id, by=owner, token_id=principal_of(request).token_id, **asked)
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
        over = change.state != ChangeRequest.Status.PENDING
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
                evidence={} if over else snapshot(change) | _kept(answers),
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
        body = AskBody.read(request.data)
        change = get_object_or_404(ChangeRequest, pk=change_id)
        person, asked = cast(User, request.user), asked_of(body)
        try:
            approvals.edit(change.pk, by=person, **asked)
        except Refused as error:
            return refusal(error, forbidden=not approvals.may_edit(change, person))
        return _answer(change_id, request)


def _kept(answers: dict[str, str]) -> dict[str, Any]:
    """What was answered to the three risk questions, in the shape that the admin keeps."""
    noted = {name: {"answer": answer, "note": ""} for name, answer in answers.items()}
    return {"answers": noted} if answers else {}
