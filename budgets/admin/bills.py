"""Monthly budgets of the kinds of bills, mappings of services, and the files that were imported."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldBooleanWidget

from budgets import clock
from budgets.exceptions import Refused
from budgets.finops.bills import actuals, focus, importing, monthly_budgets
from budgets.models import BillImport, DimensionBudget, ServiceMapping
from opslog.admin.acts import Act, ReasonForm, RowForm, StaffRequest, asked
from opslog.admin.base import PageAdmin, column, events_of, moments
from opslog.pages.charts import Meter
from opslog.pages.figures import figure

# A request of over 5 MiB is thrown away unread (DATA_UPLOAD_MAX_MEMORY_SIZE).
MOST_BYTES = 4_000_000
MOST_INFLATED = 60_000_000  # characters
PROBLEMS_SHOWN = 20


class BudgetForm(RowForm):
    reason = ReasonForm.base_fields["reason"]
    long = ("covers", "reason")

    class Meta:
        model = DimensionBudget
        fields = monthly_budgets.FIELDS

    field_order = (*monthly_budgets.FIELDS, "reason")


class MappingForm(RowForm):
    class Meta:
        model = ServiceMapping
        fields = monthly_budgets.MAPPED


class BillForm(forms.Form):
    file = forms.FileField(
        label="Bill",
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.gz,text/csv"}),
        help_text="A CSV in UTF-8 with the FOCUS columns, plain or compressed (.csv.gz), of at "
        "most 4 MB; manage.py import_focus reads larger ones.",
    )
    skip_bad = forms.BooleanField(
        label="Import the other lines where some are bad",
        required=False,
        widget=UnfoldBooleanWidget(),
    )
    shrink = forms.BooleanField(
        label="Replace what is stored even where the file has fewer lines or dollars",
        required=False,
        widget=UnfoldBooleanWidget(),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError("It is larger than 4 MB.")
        return file


@admin.register(DimensionBudget)
class DimensionBudgetAdmin(PageAdmin):
    list_display = ("what", "this_month", "from_where", "tiers_said", "owner")
    list_select_related = ("owner",)
    list_before_template = "budgets/dimension_budgets_note.html"
    page_template = "budgets/dimension_budget.html"
    acts = {
        "change-budget": Act(
            title="Monthly budget of {}",
            permission="budgets.change_dimensionbudget",
            form=BudgetForm,
            effects=(
                "People are notified once when a month reaches a tier.",
                "Nothing is refused by it: a limit of the cost dimension does that.",
            ),
            verb="Save",
            perform=lambda request, budget, values: monthly_budgets.change(
                budget.pk, values, reason=values.pop("reason"), by=request.user.username
            ),
            done="Saved.",
        )
    }

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        month = actuals.first_of(clock.today())
        self.figures = actuals.of_month(month)
        return {
            "month": month,
            "unmapped": actuals.unmapped(month),
            "last_import": BillImport.objects.first(),
        }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        months = [actuals.first_of(clock.today())]
        while len(months) < 6:
            months.append(actuals.month_before(months[-1]))
        found = [(month, actuals.of_month(month)[obj.dimension]) for month in months]
        return {
            "budget": obj,
            "meter": Meter(found[0][1].usd, found[0][1].reserved, obj.monthly_usd),
            "months": found,
            "passed": actuals.tiers_passed(found[0][1].usd, obj),
            "events": events_of("dimension_budget", obj.pk, most=6),
        }

    what = column("kind of bill", str)

    @display(description="this month")
    def this_month(self, budget: DimensionBudget) -> str:
        found = self.figures[budget.dimension]
        if budget.monthly_usd is None:
            usd = figure("dimension_budgets.usd", found.usd, f"${found.usd:,.2f}")
            return format_html('<span data-of="{}">{}, no budget</span>', budget.dimension, usd)
        meter = Meter(found.usd, found.reserved, budget.monthly_usd)
        about = {"meter": meter, "small": True, "of": budget.dimension}
        return render_to_string("tollgate/meter.html", about)

    @display(description="counted from")
    def from_where(self, budget: DimensionBudget) -> str:
        return self.figures[budget.dimension].source

    @display(description="alert thresholds")
    def tiers_said(self, budget: DimensionBudget) -> str:
        return ", ".join(f"{tier} %" for tier in budget.tiers)


def map_service(
    request: StaffRequest, _: None, values: dict[str, Any]
) -> tuple[ServiceMapping, str]:
    made = monthly_budgets.map_service(None, values, by=request.user.username)
    return made, f"{made} belongs to {made.get_dimension_display()} now."


@admin.register(ServiceMapping)
class ServiceMappingAdmin(PageAdmin):
    list_display = ("service_category", "service", "dimension")
    list_filter = ("dimension",)
    list_before_template = "budgets/service_mappings_note.html"
    page_template = "budgets/service_mapping.html"
    add_permission = "budgets.add_servicemapping"
    add = Act(
        title="Map a service to a kind of bill",
        form=MappingForm,
        form_kwargs=lambda request, _: asked(request, *monthly_budgets.MAPPED[:2], most=500),
        effects=("It holds for the past as well, except for figures that a review has taken.",),
        verb="Map it",
        perform=map_service,
    )
    acts = {
        "change-mapping": Act(
            title="Map {}",
            permission="budgets.change_servicemapping",
            form=MappingForm,
            verb="Save",
            perform=lambda request, mapping, values: monthly_budgets.map_service(
                mapping.pk, values, by=request.user.username
            ),
            done="Saved.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"mapping": obj}

    service = column("service", lambda mapping: mapping.service_name or "every service of it")


def import_bill(request: StaffRequest, _: None, values: dict[str, Any]) -> tuple[BillImport, str]:
    """As `manage.py import_focus`: all of it or nothing."""
    file = values.pop("file")
    try:
        bill, sha256 = importing.read(file.file, most=MOST_INFLATED)
    except focus.NotFocus as error:
        raise ValidationError({"file": str(error)}) from None
    try:
        made = importing.store(
            bill, file_name=file.name, sha256=sha256, by=request.user.username, **values
        )
    except Refused as error:
        problems = importing.problems_told(bill, at_most=PROBLEMS_SHOWN)
        raise ValidationError([str(error), *problems]) from None
    return made, f"{made.lines - made.bad_lines:,} lines, ${made.billed_usd:,.2f}."


@admin.register(BillImport)
class BillImportAdmin(PageAdmin):
    list_display = ("file_name", "when", "billed", "lines", "bad_lines", "imported_by")
    list_before_template = "budgets/bill_imports_note.html"
    page_template = "budgets/bill_import.html"
    add_permission = "budgets.change_dimensionbudget"
    add = Act(
        title="Import a bill",
        form=BillForm,
        effects=(
            "Stored rows of its billing periods are replaced, so a file may be imported again.",
            "One bad line stops it, and each is listed; then nothing is stored.",
        ),
        verb="Import it",
        perform=import_bill,
    )

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"bill": obj, "title": obj.file_name}

    when = moments("imported_at", "imported")

    @display(description="billed")
    def billed(self, bill: BillImport) -> str:
        usd = figure("bill_imports.billed_usd", bill.billed_usd, f"${bill.billed_usd:,.2f}")
        return format_html('<span data-of="{}">{}</span>', bill.pk, usd)
