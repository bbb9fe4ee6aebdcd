"""Cap change requests: asked for, read with the evidence, decided by people in a session."""

from typing import Any

from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse
from unfold.views import ChangeList

from budgets import approvals, clock
from budgets.admin import asking, deciding, evidence_page, raising, second_factor
from budgets.admin.forms import ChooseForm, DecisionForm, ManyForm
from budgets.admin.told import lines_told, units_of, use_charts
from budgets.approvals import verification
from budgets.evidence import CapEvidence, evidence_of, refusals_by_request
from budgets.exceptions import PasswordRequired, Refused, SecondFactorRequired
from budgets.models import ChangeRequest
from budgets.usage import overview
from opslog.admin.acts import Act, StaffRequest
from opslog.admin.base import PageAdmin, choice_filter, column, moments
from opslog.confirmed import confirmed_lately, second_factor_at
from opslog.exceptions import Unavailable
from workorders.models import WorkOrder


def waiting(request: StaffRequest, rows: Any) -> Any:
    return rows.filter(pk__in=[each.pk for each in approvals.waiting_for(request.user)])


WHOSE = choice_filter(
    "whose",
    "whose",
    {
        "me": ("needs your approval", waiting),
        "mine": ("asked by me", lambda request, rows: rows.filter(requester=request.user)),
    },
)


class RequestList(ChangeList):
    """Adds to each row what it is about, read once for all."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = self.result_list = list(self.result_list)
        names, units = approvals.names_of(rows), units_of(rows)
        for row in rows:
            row.name, row.href = approvals.name_of(row, names), raising.address_of(row, names)
            row.told = lines_told(row, units)


class WaitingList(RequestList):
    """Adds to each row of the queue who has signed and what it blocks, read once for all."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = self.result_list
        slots = overview.signatures_of(rows)
        caps = [row.subject_id for row in rows if row.subject_type == approvals.WORK_ORDER]
        begins = clock.midnight()
        of_caps = overview.refusals_by_reason(begins, caps)
        of_limits = refusals_by_request(rows, begins)
        for row in rows:
            is_caps = row.subject_type == approvals.WORK_ORDER
            row.slots = slots[row.pk]
            row.blocked = of_caps.get(row.subject_id, []) if is_caps else of_limits.get(row.pk, [])


@admin.register(ChangeRequest)
class ChangeRequestAdmin(PageAdmin):
    list_display = ("number", "subject", "change", "state", "requester", "asked", "expiry")
    list_waiting = ("number", "subject", "change", "age", "blocks", "requester", "signed")
    list_display_links = ("number",)
    list_filter = (WHOSE, "status")
    list_select_related = ("requester", "token")
    list_per_page = 50
    search_fields = ("=id", "subject_id", "justification", "requester__username")
    search_help_text = "a number, a work order's id, words"
    list_before_template = "budgets/requests_tabs.html"
    page_template = "budgets/change_request.html"
    views = ("decide", "edit")
    list_views = ("decide-selected",)
    acts = {
        "withdraw": Act(
            permission="budgets.ask_changerequest",
            form=None,
            perform=lambda request, obj, _: approvals.cancel(obj.pk, by=request.user),
            done="Request #{0.pk} is withdrawn.",
        ),
        "set-aside": Act(
            title="Set request #{0.pk} aside",
            permission="budgets.ask_changerequest",
            allows=lambda request, obj: approvals.may_set_aside(obj, request.user),
            effects=(
                "A program requested this with the token {0.token.name}.",
                "It ends without a decision, and its votes count no more. No cap changes.",
                "The owner of the token, {0.requester}, is notified.",
            ),
            danger=True,
            verb="Set it aside",
            perform=lambda request, obj, values: approvals.set_aside(
                obj.pk, by=request.user, reason=values["reason"]
            ),
            done="Request #{0.pk} is set aside.",
        ),
    }
    actions = ("decide_on_selected",)
    add_permission = "budgets.ask_changerequest"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("lines")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return WaitingList if _is_queue(request) else RequestList

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_waiting if _is_queue(request) else self.list_display

    def get_ordering(self, request: HttpRequest) -> Any:
        return ("created_at",) if _is_queue(request) else super().get_ordering(request)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("budgets.decide_changerequest")

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {"whose": request.GET.get("whose", ""), "chosen": request.GET.get("status__exact")}

    def add_view(
        self, request: Any, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if not self.has_add_permission(request):
            raise PermissionDenied
        for kind in raising.KINDS:
            if chosen := request.GET.get(kind):
                return raising.ask(self, request, kind, chosen)
        if chosen := request.GET.get("work_order"):
            return asking.ask(self, request, get_object_or_404(WorkOrder, pk=chosen))
        return self.render(
            request,
            "budgets/choose_work_order.html",
            None,
            title="Request a cap change",
            form=ChooseForm(),
        )

    def edit(self, request: StaffRequest, object_id: str) -> HttpResponseBase:
        obj = self.row(request, object_id)
        if not self.has_add_permission(request) or not approvals.may_edit(obj, request.user):
            raise PermissionDenied
        if obj.state != ChangeRequest.Status.PENDING:
            messages.error(request, "The request is decided or expired already.")
            return HttpResponseRedirect(self.address(obj))
        if obj.subject_type != approvals.WORK_ORDER:
            return raising.edit(self, request, obj)
        return asking.edit(self, request, obj, get_object_or_404(WorkOrder, pk=obj.subject_id))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        user: Any = request.user
        is_caps = obj.subject_type == approvals.WORK_ORDER
        work_order = WorkOrder.objects.filter(pk=obj.subject_id).first() if is_caps else None
        name = work_order or approvals.name_of(obj)
        is_open = obj.state == "pending"
        known = approvals.Known.about([obj.subject_id])
        votes = approvals.votes_of([obj.pk])
        reason = deciding.why_not(obj, user, known) if is_open else "It is closed."
        slots = overview.signatures(obj, known, votes) if is_open else []
        return {
            "request_": obj,
            "state": "expired" if obj.status == "pending" and not is_open else obj.status,
            "title": f"#{obj.pk} {name}",
            "name": name,
            "is_caps": is_caps,
            "subject_url": raising.address_of(obj),
            "work_order": work_order,
            "lines": lines_told(obj),
            "slots": slots,
            "complete": bool(slots) and all(slot.filled_by for slot in slots),
            "impossible": approvals.impossible(obj, known) if is_open else "",
            "votes": votes,
            "solo_signed": any(vote.second_factor_at for vote in votes),
            "form": None if reason else _form(obj),
            "confirms": not (reason or confirmed_lately(request)) and approvals.needs_password(obj),
            "solo": is_open and not reason and approvals.solo_signature(obj, user.pk, known=known),
            "reason": reason,
            "is_mine": is_open and obj.requester_id == user.pk,
            "may_take_over": is_open
            and obj.requester_id != user.pk
            and approvals.may_edit(obj, user),
            "may_set_aside": is_open and approvals.may_set_aside(obj, user),
            "parties": [
                (name, ", ".join(approvals.ROLES[role][0] for role in roles))
                for name, roles in approvals.named_parties(obj)
            ],
            "in_force_since": verification.in_force_since(obj),
            "starts": verification.first_starts(obj),
            **(_evidence(obj) if is_open or not is_caps else _use(work_order)),
        }

    def decide(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """POST only: a link in a mail, or its scanner, decides nothing.

        Over $50 whoever approves confirms first that it is them; the form is then sent for them.
        """
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_decide_permission(request):
            raise PermissionDenied
        user: Any = request.user
        obj = self.row(request, object_id)
        form = _form(obj, request.POST)
        # Who may not decide learns so before being asked to confirm anything.
        reason = deciding.why_not(obj, user)
        if reason:
            messages.error(request, reason)
            return HttpResponseRedirect(self.address(obj))
        if not form.is_valid():
            return self.render(
                request, self.page_template, obj, **{**self.page(request, obj), "form": form}
            )
        try:
            decided = deciding.decide(
                form,
                obj,
                user,
                confirmed=confirmed_lately(request),
                second_factor_at=second_factor_at(request),
            )
        except SecondFactorRequired:
            return second_factor.ask(request)
        except PasswordRequired:
            raise ReauthenticationRequired from None
        except (Refused, Unavailable) as error:
            messages.error(request, str(error))
        else:
            self.message_user(request, deciding.outcome(decided))
        return HttpResponseRedirect(self.address(obj))

    @admin.action(description="Approve or refuse the selected…", permissions=["decide"])
    def decide_on_selected(self, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
        """Decides nothing yet: the page that follows shows what is selected, and asks."""
        rows = queryset.filter(status=ChangeRequest.Status.PENDING)[: deciding.MANY_AT_MOST + 1]
        if len(rows) > deciding.MANY_AT_MOST:
            messages.error(request, f"At most {deciding.MANY_AT_MOST} at once.")
            return None
        if not rows:
            messages.error(request, "None of these is open.")
            return None
        return self._many(request, rows, ManyForm())

    def decide_selected(self, request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_decide_permission(request):
            raise PermissionDenied
        form = ManyForm(request.POST)
        seen = dict(list(form.seen_revisions().items())[: deciding.MANY_AT_MOST])
        if not form.is_valid():
            rows = self.get_queryset(request).filter(pk__in=seen)
            return self._many(request, rows, form, seen)
        data = form.cleaned_data
        try:
            deciding.decide_on_many(request, seen, data["decision"], data["comment"])
        except Unavailable as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(f"{_list_url()}?whose=me")

    def _many(
        self, request: HttpRequest, rows: Any, form: ManyForm, seen: dict[int, int] | None = None
    ) -> HttpResponseBase:
        """`seen` keeps the revisions of a page that was sent with a fault: not those of now."""
        mine: Any = request.user.pk
        user = User.objects.prefetch_related("groups", "memberships").get(pk=mine)
        known = approvals.Known.about(row.subject_id for row in rows)
        names, units = approvals.names_of(rows), units_of(rows)
        return self.render(
            request,
            "budgets/decide_many.html",
            None,
            title="Decide on the selected requests",
            form=form,
            back=f"{_list_url()}?whose=me",
            rows=[
                {
                    "request_": row,
                    "revision": (seen or {}).get(row.pk, row.revision),
                    "name": approvals.name_of(row, names),
                    "lines": lines_told(row, units),
                    "alone": approvals.needs_password(row),
                    "reason": deciding.why_not(row, user, known),
                }
                for row in approvals.with_parties(rows).prefetch_related("votes")
            ],
        )

    number = column("request", lambda obj: f"#{obj.pk}", ordering="id")

    @display(description="limits of")
    def subject(self, obj: Any) -> str:
        return render_to_string("budgets/subject.html", {"name": obj.name, "href": obj.href})

    @display(description="change")
    def change(self, obj: Any) -> str:
        return render_to_string("budgets/changes.html", {"lines": obj.told, "request_": obj})

    @display(description="state")
    def state(self, obj: ChangeRequest) -> str:
        return render_to_string("tollgate/badge.html", {"state": obj.state})

    asked = moments("created_at", "asked")
    expiry = column("until (UTC)", lambda obj: f"{obj.decided_at or obj.expires_at:%Y-%m-%d %H:%M}")
    age = column("waits", lambda obj: render_to_string("budgets/age.html", {"request_": obj}))

    @display(description="refused today")
    def blocks(self, obj: Any) -> str:
        return render_to_string("budgets/blocks.html", {"request_": obj, "blocked": obj.blocked})

    @display(description="signatures")
    def signed(self, obj: Any) -> str:
        return render_to_string("budgets/signed.html", {"slots": obj.slots})


def _is_queue(request: HttpRequest) -> bool:
    return request.GET.get("whose") == "me"


def _list_url() -> str:
    return reverse("admin:budgets_changerequest_changelist")


def _form(obj: ChangeRequest, data: Any = None) -> DecisionForm:
    return DecisionForm(data, initial={"seen_revision": obj.revision})


def _evidence(obj: ChangeRequest) -> dict[str, Any]:
    if obj.subject_type != approvals.WORK_ORDER:
        return raising.shown(obj)
    try:
        evidence = evidence_of(obj)
    except Unavailable as error:
        return {"unavailable": str(error)}
    return evidence_page.shown(evidence) if isinstance(evidence, CapEvidence) else {}


def _use(work_order: WorkOrder | None) -> dict[str, Any]:
    return {"charts": use_charts(work_order, clock.midnight())} if work_order else {}
