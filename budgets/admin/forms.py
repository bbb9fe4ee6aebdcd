"""The forms of a cap change: asking, deciding on one, deciding on several."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from budgets.approvals import CAPS
from budgets.models import ApprovalRule, Vote
from opslog.admin.acts import Themed
from workorders.models import WorkOrder

QUESTIONS = (
    ("legitimate", "Is the use legitimate?"),
    ("reasonable", "Is the cost reasonable?"),
    ("optimise", "Is there something to optimize?"),
)
ANSWERS = (("yes", "Yes"), ("no", "No"), ("unsure", "Not sure"))
DECISIONS = [
    (Vote.Decision.APPROVE, "Approve: I sign for these values"),
    (Vote.Decision.REFUSE, "Refuse: this ends the request"),
]


def lines(rows: int) -> forms.Widget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows})  # type: ignore[no-any-return]


class MomentInput(UnfoldAdminTextInputWidget):
    """The browser's own picker. It knows no time zone; the label says UTC."""

    input_type = "datetime-local"

    def format_value(self, value: Any) -> str | None:
        if hasattr(value, "astimezone"):
            return f"{timezone.localtime(value):%Y-%m-%dT%H:%M}"
        return value or None


class ChooseForm(Themed, forms.Form):
    """Which work order; then the form with its current caps follows."""

    work_order = forms.ModelChoiceField(
        WorkOrder.objects.exclude(status="archived").order_by("title"),
        empty_label="Choose one",
    )


class JustifiedForm(Themed, forms.Form):
    """What every request says for itself."""

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


class AskForm(JustifiedForm):
    """Other caps, for good or for a time. What is left empty stays as it is."""

    runs_per_day = forms.IntegerField(
        label="Runs a day",
        min_value=1,
        required=False,
    )
    usd_per_day = forms.DecimalField(
        label="US dollars a day",
        min_value=Decimal("0.01"),
        decimal_places=2,
        max_digits=12,
        required=False,
    )
    max_concurrent_runs = forms.IntegerField(
        label="Runs at once",
        min_value=1,
        required=False,
    )
    grant_from = forms.DateTimeField(label="From (UTC)", required=False, widget=MomentInput())
    grant_until = forms.DateTimeField(label="Until (UTC)", required=False, widget=MomentInput())
    field_order = (*CAPS, "justification", "expected_cost_impact", "grant_from", "grant_until")

    def __init__(
        self,
        *args: Any,
        work_order: WorkOrder,
        proposed: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.work_order = work_order
        caps = {str(measure): getattr(work_order, measure) for measure in CAPS}
        kwargs["initial"] = {**caps, **kwargs.get("initial", {})}
        super().__init__(*args, **kwargs)
        for measure in CAPS:
            # What was shown goes along: a cap that moves meanwhile is not put back unasked.
            self.fields[measure].show_hidden_initial = True
        if proposed and not self.is_bound:
            self._propose(proposed, caps)
        self.fields["runs_per_day"].help_text = f"Now {work_order.runs_per_day:,}."
        self.fields["usd_per_day"].help_text = f"Now ${work_order.usd_per_day:,.2f}."
        self.fields["max_concurrent_runs"].help_text = f"Now {work_order.max_concurrent_runs:,}."

    def _propose(self, proposed: Mapping[str, str], caps: Mapping[str, Any]) -> None:
        """Show other values than those that hold. What holds stays the hidden value, so that what
        is proposed counts as a change. A value that the field cannot have is left out."""
        for name, text in proposed.items():
            try:
                self.initial[name] = self.fields[name].clean(text)
            except ValidationError:
                continue
        self.data = {self.add_initial_prefix(name): caps[name] for name in CAPS}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        since, until = data.get("grant_from"), data.get("grant_until")
        if bool(since) != bool(until):
            self.add_error(
                "grant_from" if until else "grant_until",
                "A raise for a time needs both its beginning and its end.",
            )
        elif since and until and since >= until:
            self.add_error("grant_until", "The end must come after the beginning.")
        return data

    def wanted(self) -> dict[str, Any]:
        """The new values, None for what stays."""
        return {
            measure: value
            if measure in self.changed_data and value != getattr(self.work_order, measure)
            else None
            for measure in CAPS
            if (value := self.cleaned_data[measure]) is not None
        }

    def arguments(self) -> dict[str, Any]:
        """As `approvals.ask` and `approvals.edit` take it."""
        names = ("justification", "expected_cost_impact", "grant_from", "grant_until")
        return {"new": self.wanted(), **{name: self.cleaned_data[name] for name in names}}


class RaiseForm(JustifiedForm):
    """Higher limits of what many share. What is left as it is stays."""

    def __init__(
        self, *args: Any, values: Mapping[str, Decimal], labels: Mapping[str, str], **kwargs: Any
    ) -> None:
        kwargs["initial"] = {**values, **kwargs.get("initial", {})}
        super().__init__(*args, **kwargs)
        self.values = values
        for measure, value in values.items():
            self.fields[measure] = forms.DecimalField(
                label=labels[measure],
                min_value=Decimal("0.01"),
                decimal_places=2,
                max_digits=18,
                required=False,
                widget=UnfoldAdminDecimalFieldWidget(),
                help_text=f"Now {value:,f}.",
            )
        self.fields["justification"].help_text = "Why it must be more. Approvers read this first."
        self.order_fields([*values, "justification", "expected_cost_impact"])

    def arguments(self) -> dict[str, Any]:
        """As `approvals.ask` and `approvals.edit` take it."""
        data = self.cleaned_data
        return {
            "new": {m: None if data[m] == old else data[m] for m, old in self.values.items()},
            "justification": data["justification"],
            "expected_cost_impact": data["expected_cost_impact"],
        }


class DecisionForm(forms.Form):
    """Nothing is preselected: a decision is never the default.

    The three questions are answered by who approves; a refusal may leave them out.
    """

    decision = forms.ChoiceField(choices=DECISIONS, widget=UnfoldAdminRadioSelectWidget())
    comment = forms.CharField(
        max_length=2000,
        widget=lines(3),
        help_text="What you looked at, and why. Everybody can read it.",
    )
    seen_revision = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, question in QUESTIONS:
            self.fields[name] = forms.ChoiceField(
                label=question, choices=ANSWERS, required=False, widget=forms.RadioSelect()
            )
            self.fields[f"{name}_note"] = forms.CharField(
                label=f"{question} Note",
                max_length=500,
                required=False,
                widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "a note, if you like"}),
            )

    def questions(self) -> Iterator[tuple[str, Any, Any]]:
        """Name, answer and note of each, for the page."""
        for name, _ in QUESTIONS:
            yield name, self[name], self[f"{name}_note"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("decision") == Vote.Decision.APPROVE:
            for name, _ in QUESTIONS:
                if name not in self.errors and not data.get(name):
                    self.add_error(name, "Answer this to approve.")
        return data

    def answers(self) -> dict[str, dict[str, str]]:
        """What was answered, as it is kept with the vote."""
        data = self.cleaned_data
        return {
            name: {"answer": data[name], "note": data[f"{name}_note"]}
            for name, _ in QUESTIONS
            if data[name] or data[f"{name}_note"]
        }


class ManyForm(forms.Form):
    """One decision and one comment on several requests, each at the revision that was shown."""

    decision = forms.ChoiceField(
        choices=[
            (Vote.Decision.APPROVE, "Approve: I sign for all these values"),
            (Vote.Decision.REFUSE, "Refuse: this ends all these requests"),
        ],
        widget=UnfoldAdminRadioSelectWidget(),
    )
    comment = forms.CharField(
        max_length=2000,
        widget=lines(3),
        help_text="It is recorded with each of them, where everybody can read it.",
    )
    seen = forms.MultipleChoiceField(widget=forms.MultipleHiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        submitted = self.data.getlist("seen") if hasattr(self.data, "getlist") else []
        pairs = [each for each in submitted if _is_pair(each)]
        self.fields["seen"].choices = [(each, each) for each in pairs]  # type: ignore[attr-defined]

    def seen_revisions(self) -> dict[int, int]:
        """Request id → the revision that was shown; also of a form with other faults."""
        choices = self.fields["seen"].choices  # type: ignore[attr-defined]
        pairs = (each.partition(":") for each, _ in choices)
        return {int(request_id): int(revision) for request_id, _, revision in pairs}


def _is_pair(text: str) -> bool:
    request_id, _, revision = text.partition(":")
    parts = (request_id, revision)
    return all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)


def rules_table() -> list[dict[str, Any]]:
    """The rules as the form shows them."""
    found = ApprovalRule.objects.prefetch_related("slots__group")
    return [
        {"rule": rule, "groups": sorted(slot.group.name for slot in rule.slots.all())}
        for rule in found
    ]
