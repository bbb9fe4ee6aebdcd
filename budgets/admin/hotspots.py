"""The hotspot registry, and the contacts of the runbooks."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.template.loader import render_to_string

from budgets.finops import contacts
from budgets.finops.hotspots import guardrails, measuring, registry
from budgets.finops.hotspots.levers import Control
from budgets.models import Contact, Hotspot
from opslog.admin.acts import Act, ReasonForm, RowForm, StaffRequest
from opslog.admin.base import PageAdmin, badge, choice_filter, column, events_of

UNREGISTERED_SHOWN = 12
BADGES = {"stale": "pending", "unconfirmed": "cancelled", "confirmed": "live"}


class HotspotForm(RowForm):
    long = ("scaling_note", "levers")

    class Meta:
        model = Hotspot
        fields = registry.FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["levers"].help_text = (
            "What can be done, one a line, the cheapest first. Where a control of Tollgate does "
            f"it, name it after a bar: “Fewer rounds | feature”. Controls: {', '.join(Control)}."
        )


class ConfirmForm(ReasonForm):
    reason = forms.CharField(
        label="What you looked at",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Ranges, guardrails, levers, owner. Recorded with your name.",
    )


def in_state(state: str) -> Any:
    return lambda _, rows: rows.filter(pk__in=[row.pk for row in rows if row.state == state])


CONFIRMED = choice_filter(
    "confirmed",
    "fresh",
    {str(value): (str(label), in_state(value)) for value, label in Hotspot.State.choices},
)


def of_feature(request: StaffRequest, _: None) -> dict[str, Any]:
    feature = request.GET.get("feature", "")[:200]
    initial = {"feature": feature, "name": feature, "dimension": "llm_api"} if feature else {}
    return {"initial": initial}


@admin.register(Hotspot)
class HotspotAdmin(PageAdmin):
    list_display = ("name", "where", "a_month", "a_request", "scales", "owner", "state")
    list_filter = ("dimension", CONFIRMED)
    list_select_related = ("owner",)
    list_before_template = "budgets/hotspots_note.html"
    page_template = "budgets/hotspot.html"
    search_fields = ("name", "feature")
    add_permission = "budgets.add_hotspot"
    add = Act(
        title="Add a hotspot",
        form=HotspotForm,
        form_kwargs=of_feature,
        effects=("Its ranges are measured within the hour, where telemetry names its feature.",),
        verb="Add it",
        perform=lambda request, _, values: registry.add(values, by=request.user.username),
        done="{} is in the registry.",
    )
    acts = {
        "change-entry": Act(
            title="Change the entry of {}",
            permission="budgets.change_hotspot",
            form=HotspotForm,
            verb="Save",
            perform=lambda request, found, values: registry.change(
                found.pk, values, by=request.user.username
            ),
            done="Saved. What is typed carries today's date.",
        ),
        "confirm": Act(
            title="Confirm {}",
            permission="budgets.change_hotspot",
            form=ConfirmForm,
            effects=("It counts as fresh for {0.confirm_days} days.",),
            verb="I looked at it, and it is right",
            perform=lambda request, found, values: registry.confirm(
                found.pk, note=values["reason"], by=request.user.username
            ),
            done="Confirmed: fresh for {0.confirm_days} days.",
        ),
    }

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "unregistered": measuring.unregistered(at_most=UNREGISTERED_SHOWN),
            "may_add": self.has_add_permission(request),
        }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "hotspot": obj,
            "guardrails": guardrails.of(obj),
            "values": guardrails.values(obj),
            "levers": guardrails.links(obj),
            "add_limit": guardrails.new_limit(obj),
            "events": events_of("hotspot", obj.pk, most=6),
        }

    where = column("cost dimension", lambda found: str(found.get_dimension_display()))

    @display(description="$ a month")
    def a_month(self, found: Hotspot) -> str:
        return render_to_string("budgets/hotspot_range.html", {"hotspot": found, "per": "month"})

    @display(description="$ a request")
    def a_request(self, found: Hotspot) -> str:
        return render_to_string("budgets/hotspot_range.html", {"hotspot": found, "per": "request"})

    scales = column("scales", lambda found: str(found.get_scaling_display()))
    state = column("state", lambda found: badge(BADGES[found.state], found.state_said))


class ContactForm(RowForm):
    class Meta:
        model = Contact
        fields = contacts.FIELDS


@admin.register(Contact)
class ContactAdmin(PageAdmin):
    list_display = ("name", "about", "position", "reach", "hours", "group", "state")
    list_filter = ("topic",)
    list_select_related = ("group",)
    list_before_template = "budgets/contacts_note.html"
    page_template = "budgets/contact.html"
    add_permission = "budgets.add_contact"
    add = Act(
        title="Add a contact",
        form=ContactForm,
        verb="Add it",
        perform=lambda request, _, values: contacts.save(None, values, by=request.user.username),
        done="{} stands in the runbooks now.",
    )
    acts = {
        "change-contact": Act(
            title="Change the contact {}",
            permission="budgets.change_contact",
            form=ContactForm,
            verb="Save",
            perform=lambda request, found, values: contacts.save(
                found.pk, values, by=request.user.username
            ),
            done="Saved.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"contact": obj, "people": contacts.people_of([obj])[obj.pk]}

    about = column("for", lambda found: str(found.get_topic_display()))

    @display(description="state")
    def state(self, found: Contact) -> str:
        return badge("live", "in use") if found.active else badge("cancelled", "off")
