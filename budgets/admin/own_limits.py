"""How far one person, or one token, goes alone: lowered by operators, raised by request."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from budgets import approvals
from budgets.approvals.subjects import OwnLimit
from budgets.exceptions import Refused
from budgets.models import ApprovalLimit
from opslog.admin.base import PageAdmin, ReasonForm


class LowerForm(ReasonForm):
    amount = forms.DecimalField(
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=18,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Below what it is now.",
    )
    field_order = ("amount", "reason")


@admin.register(ApprovalLimit)
class ApprovalLimitAdmin(PageAdmin):
    list_display = ("what", "value")
    list_before_template = "budgets/own_limits_note.html"
    page_template = "budgets/own_limit.html"
    acts = {"lower": "lower"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "limit": obj,
            "title": str(obj),
            "value": value_of(obj),
            "may_lower": request.user.has_perm("budgets.change_approvallimit"),
            "may_ask": request.user.has_perm("budgets.ask_changerequest"),
            "pending": approvals.waiting()
            .filter(subject_type=OwnLimit.kind, subject_id=str(obj.pk))
            .first(),
        }

    def lower(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_approvallimit"):
            raise PermissionDenied
        limit = self.thing(request, object_id)

        def perform(said: dict[str, Any]) -> str:
            approvals.lower(limit.pk, said["amount"], reason=said["reason"], by=request.user)  # type: ignore[arg-type]  # logged in
            return "Lowered."

        return self.act(
            request,
            limit,
            form=LowerForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Lower: {limit}",
            verb="Lower it",
            effects=(
                f"Now {value_of(limit)}.",
                "It applies to what comes next. What is in force, or open, stays.",
            ),
        )

    @display(description="limit")
    def what(self, limit: ApprovalLimit) -> str:
        return str(limit)

    @display(description="highest")
    def value(self, limit: ApprovalLimit) -> str:
        return value_of(limit)


def value_of(limit: ApprovalLimit) -> str:
    return f"${limit.amount:,.2f}" if limit.is_usd else f"{limit.amount:,.0f}"
