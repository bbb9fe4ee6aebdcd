"""The two forms of a cap change: asking, and deciding."""

from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from budgets.models import ApprovalRule, Vote
from workorders.models import WorkOrder


def lines(rows: int) -> forms.Widget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows})  # type: ignore[no-any-return]


class ChooseForm(forms.Form):
    """Which work order; then the form with its current caps follows."""

    work_order = forms.ModelChoiceField(
        WorkOrder.objects.exclude(status="archived").order_by("title"),
        empty_label="Choose one",
        widget=UnfoldAdminSelectWidget(),
    )


class AskForm(forms.Form):
    runs_per_day = forms.IntegerField(
        label="Runs a day",
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    usd_per_day = forms.DecimalField(
        label="US dollars a day",
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=12,
        widget=UnfoldAdminDecimalFieldWidget(),
    )
    justification = forms.CharField(
        max_length=2000,
        widget=lines(4),
        help_text="Why the work needs it. Approvers read this first.",
    )
    expected_cost_impact = forms.CharField(
        max_length=500,
        widget=lines(2),
        help_text="What it will cost: dollars a day or a month, and how you know.",
    )

    def __init__(self, *args: Any, work_order: WorkOrder, **kwargs: Any) -> None:
        self.work_order = work_order
        initial = {
            "runs_per_day": work_order.runs_per_day,
            "usd_per_day": work_order.usd_per_day,
        }
        super().__init__(*args, **{"initial": initial, **kwargs})
        self.fields["runs_per_day"].help_text = f"Now {work_order.runs_per_day:,}."
        self.fields["usd_per_day"].help_text = f"Now ${work_order.usd_per_day:,.2f}."

    def wanted(self) -> dict[str, Any]:
        """The new values, None for what stays."""
        return {
            measure: None if value == getattr(self.work_order, measure) else value
            for measure in ("runs_per_day", "usd_per_day")
            if (value := self.cleaned_data[measure]) is not None
        }


class DecisionForm(forms.Form):
    """Nothing is chosen beforehand: a decision is never the default."""

    decision = forms.ChoiceField(
        choices=[
            (Vote.Decision.APPROVE, "Approve: I sign for these values"),
            (Vote.Decision.REFUSE, "Refuse: this ends the request"),
        ],
        widget=UnfoldAdminRadioSelectWidget(),
    )
    comment = forms.CharField(
        max_length=2000,
        widget=lines(3),
        help_text="What you looked at, and why. Everybody can read it.",
    )
    seen_revision = forms.IntegerField(widget=forms.HiddenInput)


def rules_table() -> list[dict[str, Any]]:
    """The rules as the form shows them."""
    found = ApprovalRule.objects.prefetch_related("slots__group")
    return [
        {"rule": rule, "groups": sorted(slot.group.name for slot in rule.slots.all())}
        for rule in found
    ]
