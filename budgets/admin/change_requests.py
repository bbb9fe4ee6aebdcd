"""Cap change requests: asked for, read with the evidence, decided by people in a session."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from budgets import approvals, overview, selectors
from budgets.admin.forms import AskForm, ChooseForm, DecisionForm, rules_table
from budgets.exceptions import Refused
from budgets.models import ChangeLine, ChangeRequest, Measure
from opslog.admin.base import PageAdmin
from opslog.meters import Chart, chart
from workorders.models import WorkOrder

DAYS_SHOWN = 30
UNITS = {
    Measure.RUNS_PER_DAY.value: "runs",
    Measure.USD_PER_DAY.value: "usd",
    Measure.MAX_CONCURRENT_RUNS.value: "runs",
}


class WhoseFilter(admin.SimpleListFilter):
    title = "whose"
    parameter_name = "whose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return (("me", "waiting for me"), ("mine", "asked by me"))

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "mine":
            return queryset.filter(requester=request.user)
        if self.value() == "me":
            waiting = approvals.waiting_for(request.user)  # type: ignore[arg-type]  # logged in
            return queryset.filter(pk__in=[each.pk for each in waiting])
        return queryset


@admin.register(ChangeRequest)
class ChangeRequestAdmin(PageAdmin):
    list_display = ("number", "work_order", "change", "state", "requester", "asked", "expiry")
    list_display_links = ("number",)
    list_filter = (WhoseFilter, "status")
    list_select_related = ("requester",)
    list_per_page = 50
    search_fields = ("=id", "subject_id", "justification", "requester__username")
    search_help_text = "a number, a work order's id, words"
    list_before_template = "budgets/requests_tabs.html"
    page_template = "budgets/change_request.html"
    acts = {"decide": "decide", "withdraw": "withdraw"}
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("lines")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("budgets.ask_changerequest")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {"whose": request.GET.get("whose", ""), "chosen": request.GET.get("status__exact")}
        return super().changelist_view(request, {**extra, **(extra_context or {})})  # type: ignore[no-any-return]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if not self.has_add_permission(request):
            raise PermissionDenied
        chosen = request.GET.get("work_order")
        if not chosen:
            return self.render(
                request,
                "budgets/choose_work_order.html",
                None,
                title="Request a cap change",
                form=ChooseForm(),
            )
        return self._ask(request, get_object_or_404(WorkOrder, pk=chosen))

    def _ask(self, request: HttpRequest, work_order: WorkOrder) -> HttpResponseBase:
        """Two buttons: "check" says who would have to approve, "send" asks them."""
        form = AskForm(request.POST or None, work_order=work_order)
        preview: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid():
            try:
                if "check" in request.POST:
                    preview = self._preview(work_order, form)
                else:
                    made = approvals.ask(
                        work_order.pk,
                        new=form.wanted(),
                        justification=form.cleaned_data["justification"],
                        expected_cost_impact=form.cleaned_data["expected_cost_impact"],
                        by=request.user,  # type: ignore[arg-type]  # logged in
                    )
                    said = "applied" if made.status == "applied" else "sent to those who decide"
                    self.message_user(request, f"Request #{made.pk} is {said}.")
                    return HttpResponseRedirect(self.address(made))
            except Refused as error:
                form.add_error(None, str(error))
        usage = selectors.usage_today(work_order)
        begins = overview.today()
        return self.render(
            request,
            "budgets/ask.html",
            None,
            title=f"Request a cap change: {work_order.title}",
            work_order=work_order,
            form=form,
            usage=usage,
            rules=rules_table(),
            preview=preview,
            charts=_charts(work_order, begins, {}),
        )

    def _preview(self, work_order: WorkOrder, form: AskForm) -> dict[str, Any]:
        caps = approvals.caps_of(work_order)
        changed = {
            measure: (caps[measure], Decimal(value))
            for measure, value in form.wanted().items()
            if value is not None
        }
        if not changed:
            raise Refused("Nothing would change.")
        needed = approvals.slots_for(work_order.pk, changed)
        return {
            "changes": [_told(measure, old, new) for measure, (old, new) in changed.items()],
            "needed": sorted(needed),
            "at_once": not any(new > old for old, new in changed.values()),
        }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        user: Any = request.user
        work_order = WorkOrder.objects.filter(pk=obj.subject_id).first()
        begins = overview.today()
        overdue = obj.status == "pending" and obj.expires_at <= timezone.now()
        reason = "Nobody decided in time." if overdue else _why_not(obj, user)
        lines = list(obj.lines.all())
        return {
            "request_": obj,
            "state": "expired" if overdue else obj.status,
            "title": f"#{obj.pk} {work_order or obj.subject_id}",
            "work_order": work_order,
            "lines": [_told(line.measure, line.old, line.new) for line in lines],
            "slots": overview.signatures(obj),
            "votes": obj.votes.select_related("voter").order_by("id"),
            "charts": _charts(work_order, begins, {line.measure: line for line in lines})
            if work_order
            else (),
            "calibration": selectors.calibration(work_order.pk) if work_order else None,
            "refusals": overview.refusals_since(begins, wo_id=obj.subject_id),
            "usage": selectors.usage_today(work_order) if work_order else None,
            "form": DecisionForm(initial={"seen_revision": obj.revision}) if not reason else None,
            "reason": reason,
            "may_withdraw": obj.status == "pending" and not overdue and obj.requester_id == user.pk,
        }

    def decide(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """POST only: a link in a mail, or its scanner, decides nothing."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("budgets.decide_changerequest"):
            raise PermissionDenied
        obj = self.thing(request, object_id)
        form = DecisionForm(request.POST)
        if not form.is_valid():
            return self.render(
                request, self.page_template, obj, **{**self.page(request, obj), "form": form}
            )
        try:
            decided = approvals.decide(
                obj.pk,
                by=request.user,  # type: ignore[arg-type]  # logged in
                evidence=self._evidence(obj),
                **form.cleaned_data,
            )
        except Refused as error:
            messages.error(request, str(error))
        else:
            self.message_user(request, _outcome(decided))
        return HttpResponseRedirect(self.address(obj))

    def withdraw(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("budgets.ask_changerequest"):
            raise PermissionDenied
        obj = self.thing(request, object_id)
        try:
            approvals.cancel(obj.pk, by=request.user)  # type: ignore[arg-type]  # logged in
        except Refused as error:
            messages.error(request, str(error))
        else:
            self.message_user(request, f"Request #{obj.pk} is withdrawn.")
        return HttpResponseRedirect(self.address(obj))

    def _evidence(self, obj: ChangeRequest) -> dict[str, Any]:
        """What stood before the voter, kept with the vote."""
        days = overview.use_by_day("work_order", obj.subject_id, overview.today(), days=DAYS_SHOWN)
        return {
            "lines": {
                line.measure: {"old": str(line.old), "new": str(line.new)}
                for line in obj.lines.all()
            },
            "useByDay": [
                {"day": day.day.isoformat(), "runs": day.runs, "usd": str(day.usd)} for day in days
            ],
        }

    @display(description="request", ordering="id")
    def number(self, obj: ChangeRequest) -> str:
        return f"#{obj.pk}"

    @display(description="work order")
    def work_order(self, obj: ChangeRequest) -> str:
        link = reverse("admin:workorders_workorder_changelist")
        return render_to_string("budgets/subject.html", {"request_": obj, "link": link})

    @display(description="change")
    def change(self, obj: ChangeRequest) -> str:
        told = [_told(line.measure, line.old, line.new) for line in obj.lines.all()]
        return render_to_string("budgets/changes.html", {"lines": told})

    @display(description="state")
    def state(self, obj: ChangeRequest) -> str:
        overdue = obj.status == "pending" and obj.expires_at <= timezone.now()
        return render_to_string(
            "tollgate/badge.html", {"state": "expired" if overdue else obj.status}
        )

    @display(description="asked (UTC)")
    def asked(self, obj: ChangeRequest) -> str:
        return f"{obj.created_at:%Y-%m-%d %H:%M}"

    @display(description="decided, or expires (UTC)")
    def expiry(self, obj: ChangeRequest) -> str:
        return f"{obj.decided_at or obj.expires_at:%Y-%m-%d %H:%M}"


def _told(measure: str, old: Decimal, new: Decimal) -> dict[str, Any]:
    return {
        "label": str(Measure(measure).label),
        "unit": UNITS[measure],
        "old": old,
        "new": new,
        "percent": f"{(new - old) / old * 100:+,.0f} %",
        "raises": new > old,
    }


def _why_not(obj: ChangeRequest, user: Any) -> str:
    try:
        return approvals.may_decide(obj, user)
    except Refused as error:  # no rule covers what was asked for any more
        return str(error)


def _outcome(decided: ChangeRequest) -> str:
    return {
        "applied": f"Request #{decided.pk} is approved and applied.",
        "refused": f"Request #{decided.pk} is refused.",
        "stale": f"Request #{decided.pk} is stale: the caps have moved since it was asked.",
    }.get(decided.status, f"Your approval of request #{decided.pk} is recorded.")


def _charts(
    work_order: WorkOrder, begins: datetime, lines: dict[str, ChangeLine]
) -> list[tuple[str, Chart]]:
    """Thirty days of use against the cap in force, and the one asked for: one query for both."""
    days = overview.use_by_day("work_order", work_order.pk, begins, days=DAYS_SHOWN)
    caps = approvals.caps_of(work_order)
    drawn = []
    for measure, label, values in (
        (Measure.USD_PER_DAY, "US dollars a day", [(day.day, day.usd) for day in days]),
        (Measure.RUNS_PER_DAY, "Runs a day", [(day.day, Decimal(day.runs)) for day in days]),
    ):
        limits = [("cap now", caps[measure], "now")]
        line = lines.get(measure)
        if line and line.new != caps[measure]:
            limits.append(("asked for", line.new, "asked"))
        drawn.append((label, chart(values, limits, unit=UNITS[measure])))
    return drawn
