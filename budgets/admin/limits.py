"""Budgets and limits: what each allows, what is used of it now, and how it is lowered."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.template.loader import render_to_string
from django.utils.html import format_html

from budgets import approvals
from budgets.controls import limits
from budgets.models import Alert, Budget
from opslog.admin.acts import Act, ReasonForm, StaffRequest, asked
from opslog.admin.base import PageAdmin, column
from opslog.pages.charts import Meter
from opslog.pages.figures import figure
from workorders.models import WorkOrder

UNITS = {"usd": "usd", "tokens": "runs", "requests": "runs", "runs": "runs"}
SHIPPED_CONCURRENT_RUNS = 20
SENTENCES = {
    ("global", "open", "runs"): "Runs at the same time, everything together",
    ("global", "rolling_minute", "usd"): "Circuit breaker: dollars committed in any 60 seconds",
    ("model_tier", "open", "runs"): "Runs of a model tier at the same time, in one work order",
    ("work_order", "day", "usd"): "Alerts on the dollars a day of each work order",
    ("work_order", "day", "requests"): "Alerts on the runs a day of each work order",
}


class LowerForm(ReasonForm):
    amount = forms.DecimalField(
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=18,
        help_text="Below what it is now.",
    )
    field_order = ("amount", "reason")


class AlertsForm(ReasonForm):
    warning_amount = forms.DecimalField(
        label="Warn at",
        required=False,
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=18,
        help_text="An amount in the limit's own unit. Empty: none.",
    )
    percents = forms.RegexField(
        r"^\s*(\d{1,3}\s*(,\s*\d{1,3}\s*)*)?$",
        label="Alert thresholds, in percent",
        required=False,
        help_text="As in 70, 90, 100. Each alerts once per window.",
    )
    field_order = ("warning_amount", "percents", "reason")


class AddForm(ReasonForm):
    scope = forms.ChoiceField(
        choices=[choice for choice in Budget.Scope.choices if choice[0] != "work_order"]
    )
    subject = forms.CharField(
        required=False,
        max_length=200,
        help_text="A name; * for each of them on its own; empty for everything.",
    )
    window = forms.ChoiceField(choices=Budget.Window.choices)
    measure = forms.ChoiceField(choices=Budget.Measure.choices)
    amount = forms.DecimalField(
        required=False,
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=18,
        help_text="Empty: it is counted, and limits nothing.",
    )
    field_order = ("scope", "subject", "window", "measure", "amount", "reason")


def lowering(request: StaffRequest, limit: Budget) -> tuple[str, ...]:
    used = limits.use_of([limit.pk])[limit.pk].used
    return (
        f"Now {amount_told(limit)}; used {formatted(limit, used)}.",
        "Use above it stays counted; nothing more is admitted until there is room.",
    )


def set_alerts(request: StaffRequest, limit: Budget, values: dict[str, Any]) -> None:
    limits.set_alerts(
        limit.pk,
        warning=values["warning_amount"],
        percents=[int(each) for each in values["percents"].split(",") if each.strip()],
        reason=values["reason"],
        by=request.user.username,
    )


def sentence(limit: Budget) -> str:
    known = SENTENCES.get((limit.scope, limit.window, limit.measure))
    if known:
        return known
    measure, window = limit.get_measure_display(), limit.get_window_display()
    return f"{measure} {window}"[:1].upper() + f"{measure} {window}"[1:]


@admin.register(Budget)
class BudgetAdmin(PageAdmin):
    list_display = ("what", "whose", "used", "told_at")
    list_filter = ("scope", "window", "measure")
    list_before_template = "budgets/limits_note.html"
    page_template = "budgets/limit.html"
    add_permission = "budgets.add_budget"
    add = Act(
        title="Add a budget or limit",
        form=AddForm,
        # What a link may fill in; the reason is written by whoever adds it.
        form_kwargs=lambda request, _: asked(request, "scope", "subject", "window", "measure"),
        effects=(
            "It holds from the next start on, and counts what its window holds already.",
            "For a month, starts wait while the month's runs are added up once.",
        ),
        verb="Add it",
        perform=lambda request, _, values: limits.add(**values, by=request.user.username),
        done="The limit holds from the next start on.",
    )
    acts = {
        "lower": Act(
            title=lambda _, limit: f"Lower: {sentence(limit)}",
            permission="budgets.change_budget",
            when=lambda _, limit: limit.scope != Budget.Scope.WORK_ORDER,
            form=LowerForm,
            effects=lowering,
            danger=True,
            verb="Lower it",
            perform=lambda request, limit, values: limits.lower(
                limit.pk, values["amount"], reason=values["reason"], by=request.user.username
            ),
            done="It holds from the next start on.",
        ),
        "alerts": Act(
            title=lambda _, limit: f"Alert thresholds: {sentence(limit)}",
            permission="budgets.change_budget",
            form=AlertsForm,
            form_kwargs=lambda _, limit: {
                "initial": {
                    "warning_amount": limit.warning_amount,
                    "percents": ", ".join(map(str, limit.alert_percents)),
                }
            },
            verb="Save",
            perform=set_alerts,
            done="Alert thresholds saved.",
        ),
    }

    def list_context(self, request: StaffRequest) -> dict[str, Any]:
        self.uses = limits.use_of(list(Budget.objects.values_list("pk", flat=True)))
        return {}

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        use = limits.use_of([obj.pk])[obj.pk]
        return {
            "limit": obj,
            "title": sentence(obj),
            "whose": whose(obj),
            "why": why(obj),
            "use": use,
            "meter": meter_of(obj, use),
            "alerts": Alert.objects.filter(owner_type="budget", owner_id=str(obj.pk))[:8],
            "may_ask": obj.amount is not None
            and request.user.has_perm("budgets.ask_changerequest"),
            "pending": approvals.waiting()
            .filter(subject_type="budget", subject_id=str(obj.pk))
            .first(),
        }

    what = column("limit", sentence)

    @display(description="for")
    def whose(self, limit: Budget) -> str:
        return whose(limit)

    @display(description="used now")
    def used(self, limit: Budget) -> str:
        use = self.uses.get(limit.pk, limits.Use("", Decimal(0), Decimal(0)))
        if limit.scope == Budget.Scope.WORK_ORDER:
            return "on each work order"
        if limit.amount is None:
            used = figure("limits.used", use.used, formatted(limit, use.used))
            return format_html('<span data-of="{}">{}, no limit</span>', limit.pk, used)
        return render_to_string(
            "tollgate/meter.html",
            {
                "meter": meter_of(limit, use),
                "small": True,
                "label": use.subject,
                "of": limit.pk,
            },
        )

    @display(description="alert thresholds")
    def told_at(self, limit: Budget) -> str:
        return told_at(limit)


def meter_of(limit: Budget, use: limits.Use) -> Meter:
    return Meter(use.settled, use.held, limit.amount, UNITS[limit.measure])


def whose(limit: Budget) -> str:
    if limit.scope == Budget.Scope.GLOBAL:
        return "everything"
    label = str(Budget.Scope(limit.scope).label)
    return f"each {label}" if limit.subject == "*" else f"{label} {limit.subject}"


def formatted(limit: Budget, amount: Decimal) -> str:
    return f"${amount:,.2f}" if limit.measure == "usd" else f"{amount:,.0f} {limit.measure}"


def amount_told(limit: Budget) -> str:
    return "no limit" if limit.amount is None else formatted(limit, limit.amount)


def told_at(limit: Budget) -> str:
    shares = [f"{percent} %" for percent in limit.alert_percents]
    warning = [formatted(limit, limit.warning_amount)] if limit.warning_amount is not None else []
    return ", ".join(warning + shares) or "–"


def why(limit: Budget) -> str:
    """The reason for an amount that people ask about; empty for all others."""
    if (limit.scope, limit.window, limit.measure) != ("global", "open", "runs"):
        return ""
    each = WorkOrder._meta.get_field("max_concurrent_runs").get_default()
    busy = SHIPPED_CONCURRENT_RUNS // each
    return (
        f"Why {SHIPPED_CONCURRENT_RUNS} as shipped: one program is held by its work order, to "
        f"{each} runs at the same time and 1 of the largest models. This row is for all programs "
        f"together, so that {busy} work orders can be busy at once. It does not hold the dollars; "
        "the breaker, the hour and the day do. Where a single program runs, lower it to "
        f"{each}."
    )
