"""Monthly budgets of the kinds of bills, mappings of services, and the files that were imported."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldBooleanWidget

from budgets import clock, may
from budgets.admin.hotspots import dress
from budgets.exceptions import Refused
from budgets.finops.bills import actuals, focus, importing, monthly_budgets
from budgets.models import BillImport, DimensionBudget, ServiceMapping
from opslog.admin.base import PageAdmin, ReasonForm
from opslog.models import OperationsEvent
from opslog.pages.figures import figure
from opslog.pages.meters import Meter

# A request of over 5 MiB is thrown away unread (DATA_UPLOAD_MAX_MEMORY_SIZE).
MOST_BYTES = 4_000_000
MOST_INFLATED = 60_000_000  # characters
PROBLEMS_SHOWN = 20


class BudgetForm(ReasonForm, forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = DimensionBudget
        fields = monthly_budgets.FIELDS

    field_order = (*monthly_budgets.FIELDS, "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self, "covers")

    def _post_clean(self) -> None:
        """The domain judges the values, under its lock; here is the shape alone."""


class MappingForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ServiceMapping
        fields = monthly_budgets.MAPPED

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self)

    def _post_clean(self) -> None:
        """As above."""


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
    acts = {"change-budget": "change_budget"}
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        month = actuals.first_of(clock.today())
        self.figures = actuals.of_month(month)
        extra = {
            **(extra_context or {}),
            "month": month,
            "unmapped": actuals.unmapped(month),
            "last_import": BillImport.objects.first(),
            "groups_that_may": may.groups_that_may(),
        }
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        this = actuals.first_of(clock.today())
        months = [this]
        while len(months) < 6:
            months.append(actuals.month_before(months[-1]))
        found = [(month, actuals.of_month(month)[obj.dimension]) for month in months]
        return {
            "budget": obj,
            "meter": Meter(found[0][1].usd, found[0][1].reserved, obj.monthly_usd),
            "months": found,
            "passed": actuals.tiers_passed(found[0][1].usd, obj),
            "events": OperationsEvent.objects.filter(
                owner_type="dimension_budget", owner_id=str(obj.pk)
            ).order_by("-id")[:6],
            "may": request.user.has_perm("budgets.change_dimensionbudget"),
        }

    def change_budget(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_dimensionbudget"):
            raise PermissionDenied
        found = self.thing(request, object_id)

        def form(data: Any = None) -> BudgetForm:
            return BudgetForm(data, instance=DimensionBudget.objects.get(pk=found.pk))

        def perform(said: dict[str, Any]) -> str:
            values = dict(said)
            reason = values.pop("reason")
            monthly_budgets.change(found.pk, values, reason=reason, by=request.user.get_username())
            return "Saved."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Monthly budget of {found}",
            verb="Save",
            effects=(
                "People are told once when a month reaches a tier.",
                "Nothing is refused by it: a limit of the cost dimension does that.",
            ),
        )

    @display(description="kind of bill")
    def what(self, budget: DimensionBudget) -> str:
        return str(budget)

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


@admin.register(ServiceMapping)
class ServiceMappingAdmin(PageAdmin):
    list_display = ("service_category", "service", "dimension")
    list_filter = ("dimension",)
    list_before_template = "budgets/service_mappings_note.html"
    page_template = "budgets/service_mapping.html"
    acts = {"change-mapping": "change_mapping"}
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("budgets.add_servicemapping"))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"mapping": obj, "may": request.user.has_perm("budgets.change_servicemapping")}

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        asked = {name: request.GET.get(name, "")[:500] for name in monthly_budgets.MAPPED[:2]}

        def perform(said: dict[str, Any]) -> tuple[ServiceMapping, str]:
            made = monthly_budgets.map_service(None, said, by=request.user.get_username())
            return made, f"{made} belongs to {made.get_dimension_display()} now."

        return self.make(
            request,
            MappingForm(request.POST or None, initial=asked),
            perform=perform,
            refusals=(Refused,),
            title="Map a service to a kind of bill",
            verb="Map it",
            effects=("It holds for the past as well, except for figures that a review has taken.",),
        )

    def change_mapping(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_servicemapping"):
            raise PermissionDenied
        found = self.thing(request, object_id)

        def form(data: Any = None) -> MappingForm:
            return MappingForm(data, instance=ServiceMapping.objects.get(pk=found.pk))

        def perform(said: dict[str, Any]) -> str:
            monthly_budgets.map_service(found.pk, said, by=request.user.get_username())
            return "Saved."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Map {found}",
            verb="Save",
        )

    @display(description="service")
    def service(self, mapping: ServiceMapping) -> str:
        return mapping.service_name or "every service of it"


@admin.register(BillImport)
class BillImportAdmin(PageAdmin):
    list_display = ("file_name", "when", "billed", "lines", "bad_lines", "imported_by")
    list_before_template = "budgets/bill_imports_note.html"
    page_template = "budgets/bill_import.html"
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("budgets.change_dimensionbudget"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """As `manage.py import_focus`: all of it or nothing."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = BillForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            made = self._import(form, by=request.user.get_username())
            if made:
                told = f"{made.lines - made.bad_lines:,} lines, ${made.billed_usd:,.2f}."
                messages.success(request, told)
                return HttpResponseRedirect(self.address(made))
        return self.render(
            request,
            "tollgate/act.html",
            None,
            title="Import a bill",
            form=form,
            verb="Import it",
            effects=(
                "What is stored of the billing periods in it is replaced: it may be read again.",
                "One bad line stops it, and each is told; then nothing is stored.",
            ),
            back="../",
        )

    def _import(self, form: BillForm, *, by: str) -> BillImport | None:
        """None where it is refused; the form says why."""
        said = form.cleaned_data
        try:
            bill, sha256 = importing.read(said["file"].file, most=MOST_INFLATED)
        except focus.NotFocus as error:
            form.add_error("file", str(error))
            return None
        try:
            return importing.store(
                bill,
                file_name=said["file"].name,
                sha256=sha256,
                by=by,
                skip_bad=said["skip_bad"],
                shrink=said["shrink"],
            )
        except Refused as error:
            told = [str(error), *importing.problems_told(bill, at_most=PROBLEMS_SHOWN)]
            form.add_error(None, [forms.ValidationError(each) for each in told])
            return None

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"bill": obj, "title": obj.file_name}

    @display(description="imported (UTC)")
    def when(self, bill: BillImport) -> str:
        return f"{bill.imported_at:%Y-%m-%d %H:%M}"

    @display(description="billed")
    def billed(self, bill: BillImport) -> str:
        usd = figure("bill_imports.billed_usd", bill.billed_usd, f"${bill.billed_usd:,.2f}")
        return format_html('<span data-of="{}">{}</span>', bill.pk, usd)
