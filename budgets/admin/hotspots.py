"""The hotspot registry, and the contacts of the runbooks."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from budgets import may
from budgets.exceptions import Refused
from budgets.finops import contacts
from budgets.finops.hotspots import guardrails, measuring, registry
from budgets.finops.hotspots.levers import Control
from budgets.models import Contact, Hotspot
from opslog.admin.base import PageAdmin, ReasonForm, badge
from opslog.models import OperationsEvent

LONG = ("scaling_note", "levers")
UNREGISTERED_SHOWN = 12
BADGES = {"stale": "pending", "unconfirmed": "cancelled", "confirmed": "live"}


def dress(form: forms.BaseForm, *long: str) -> None:
    """The widgets of the admin's theme."""
    for name, field in form.fields.items():
        if isinstance(field, forms.BooleanField) or name == "reason":
            continue
        if isinstance(field, forms.ChoiceField | forms.ModelChoiceField):
            field.widget = UnfoldAdminSelectWidget(choices=field.choices)
        elif name in long:
            field.widget = UnfoldAdminTextareaWidget(attrs={"rows": 4})
        else:
            field.widget = UnfoldAdminTextInputWidget()


class HotspotForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Hotspot
        fields = registry.FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self, *LONG)
        self.fields["levers"].help_text = (
            "What can be done, one a line, the cheapest first. Where a control of Tollgate does "
            f"it, name it after a bar: “Fewer rounds | feature”. Controls: {', '.join(Control)}."
        )

    def _post_clean(self) -> None:
        """The domain judges the values, under its lock; here is the shape alone."""


class ConfirmForm(ReasonForm):
    reason = forms.CharField(
        label="What you looked at",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Ranges, guardrails, levers, owner. Recorded with your name.",
    )


class FreshFilter(admin.SimpleListFilter):
    title = "confirmed"
    parameter_name = "fresh"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return tuple((str(value), str(label)) for value, label in Hotspot.State.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in Hotspot.State.values:
            return queryset
        return queryset.filter(pk__in=[each.pk for each in queryset if each.state == self.value()])


@admin.register(Hotspot)
class HotspotAdmin(PageAdmin):
    list_display = ("name", "where", "a_month", "a_request", "scales", "owner", "state")
    list_filter = ("dimension", FreshFilter)
    list_select_related = ("owner",)
    list_before_template = "budgets/hotspots_note.html"
    page_template = "budgets/hotspot.html"
    search_fields = ("name", "feature")
    sortable_by = ()
    acts = {"change-entry": "change_entry", "confirm": "confirm"}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("budgets.add_hotspot"))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {
            **(extra_context or {}),
            "unregistered": measuring.unregistered(at_most=UNREGISTERED_SHOWN),
            "may_add": self.has_add_permission(request),
        }
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "hotspot": obj,
            "guardrails": guardrails.of(obj),
            "values": guardrails.values(obj),
            "levers": guardrails.links(obj),
            "add_limit": guardrails.new_limit(obj),
            "groups_that_may": may.groups_that_may(),
            "events": OperationsEvent.objects.filter(
                owner_type="hotspot", owner_id=str(obj.pk)
            ).order_by("-id")[:6],
            "may": request.user.has_perm("budgets.change_hotspot"),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        feature = request.GET.get("feature", "")[:200]
        initial = {"feature": feature, "name": feature, "dimension": "llm_api"} if feature else {}

        def perform(said: dict[str, Any]) -> tuple[Hotspot, str]:
            made = registry.add(said, by=request.user.get_username())
            return made, f"{made} is in the registry."

        return self.make(
            request,
            HotspotForm(request.POST or None, initial=initial),
            perform=perform,
            refusals=(Refused,),
            title="Add a hotspot",
            verb="Add it",
            effects=(
                "Its ranges are measured within the hour, where telemetry names its feature.",
            ),
        )

    def change_entry(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        found = self._to_change(request, object_id)

        def form(data: Any = None) -> HotspotForm:
            return HotspotForm(data, instance=Hotspot.objects.get(pk=found.pk))

        def perform(said: dict[str, Any]) -> str:
            registry.change(found.pk, said, by=request.user.get_username())
            return "Saved. What is typed carries today's date."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Change the entry of {found}",
            verb="Save",
        )

    def confirm(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        found = self._to_change(request, object_id)

        def perform(said: dict[str, Any]) -> str:
            registry.confirm(found.pk, note=said["reason"], by=request.user.get_username())
            return f"Confirmed: fresh for {found.confirm_days} days."

        return self.act(
            request,
            found,
            form=ConfirmForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Confirm {found}",
            verb="I looked at it, and it is right",
            effects=(f"It counts as fresh for {found.confirm_days} days.",),
        )

    def _to_change(self, request: HttpRequest, object_id: str) -> Any:
        if not request.user.has_perm("budgets.change_hotspot"):
            raise PermissionDenied
        return self.thing(request, object_id)

    @display(description="cost dimension")
    def where(self, found: Hotspot) -> str:
        return str(found.get_dimension_display())

    @display(description="$ a month")
    def a_month(self, found: Hotspot) -> str:
        return render_to_string("budgets/hotspot_range.html", {"hotspot": found, "per": "month"})

    @display(description="$ a request")
    def a_request(self, found: Hotspot) -> str:
        return render_to_string("budgets/hotspot_range.html", {"hotspot": found, "per": "request"})

    @display(description="scales")
    def scales(self, found: Hotspot) -> str:
        return str(found.get_scaling_display())

    @display(description="state")
    def state(self, found: Hotspot) -> str:
        return badge(BADGES[found.state], found.state_said)


class ContactForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Contact
        fields = contacts.FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self)


@admin.register(Contact)
class ContactAdmin(PageAdmin):
    list_display = ("name", "about", "position", "reach", "hours", "group", "state")
    list_filter = ("topic",)
    list_select_related = ("group",)
    list_before_template = "budgets/contacts_note.html"
    page_template = "budgets/contact.html"
    sortable_by = ()
    acts = {"change-contact": "change_contact"}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("budgets.add_contact"))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "contact": obj,
            "people": contacts.people_of([obj])[obj.pk],
            "may": request.user.has_perm("budgets.change_contact"),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        def perform(said: dict[str, Any]) -> tuple[Contact, str]:
            made = contacts.save(None, said, by=request.user.get_username())
            return made, f"{made} stands in the runbooks now."

        return self.make(
            request,
            ContactForm(request.POST or None),
            perform=perform,
            refusals=(Refused,),
            title="Add a contact",
            verb="Add it",
        )

    def change_contact(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_contact"):
            raise PermissionDenied
        found = self.thing(request, object_id)

        def form(data: Any = None) -> ContactForm:
            return ContactForm(data, instance=Contact.objects.get(pk=found.pk))

        def perform(said: dict[str, Any]) -> str:
            contacts.save(found.pk, said, by=request.user.get_username())
            return "Saved."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Change the contact {found}",
            verb="Save",
        )

    @display(description="for")
    def about(self, found: Contact) -> str:
        return str(found.get_topic_display())

    @display(description="state")
    def state(self, found: Contact) -> str:
        return badge("live", "in use") if found.active else badge("cancelled", "off")
