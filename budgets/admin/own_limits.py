"""How far one person, or one token, goes alone: lowered by operators, raised by request."""

from typing import Any

from django.contrib import admin

from budgets import approvals
from budgets.admin.limits import LowerForm
from budgets.approvals.subjects import OwnLimit
from budgets.models import ApprovalLimit
from opslog.admin.acts import Act, StaffRequest
from opslog.admin.base import PageAdmin, column


def value_of(limit: ApprovalLimit) -> str:
    return f"${limit.amount:,.2f}" if limit.is_usd else f"{limit.amount:,.0f}"


@admin.register(ApprovalLimit)
class ApprovalLimitAdmin(PageAdmin):
    list_display = ("what", "value")
    list_before_template = "budgets/own_limits_note.html"
    page_template = "budgets/own_limit.html"
    acts = {
        "lower": Act(
            title="Lower: {}",
            permission="budgets.change_approvallimit",
            form=LowerForm,
            effects=lambda _, limit: (
                f"Now {value_of(limit)}.",
                "It applies to what comes next. What is in force, or open, stays.",
            ),
            verb="Lower it",
            perform=lambda request, limit, values: approvals.lower(
                limit.pk, values["amount"], reason=values["reason"], by=request.user
            ),
            done="Lowered.",
        )
    }

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        return {
            "limit": obj,
            "value": value_of(obj),
            "may_ask": request.user.has_perm("budgets.ask_changerequest"),
            "pending": approvals.waiting()
            .filter(subject_type=OwnLimit.kind, subject_id=str(obj.pk))
            .first(),
        }

    what = column("limit", str)
    value = column("highest", value_of)
