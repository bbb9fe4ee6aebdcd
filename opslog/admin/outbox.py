"""The messages: who was notified of what, and what could not be sent; sent again by
administrators; and the policy for all of them."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from opslog import outbox
from opslog.admin.base import LargeTableMixin, PageAdmin, ReasonForm, by_day
from opslog.exceptions import NotAllowedNow
from opslog.models import MessagePolicy, OutboxMessage
from opslog.outbox import channels, preferences

RETRY = "opslog.retry_outboxmessage"
GIVE_UP_HOURS = int(outbox.GIVE_UP_AFTER.total_seconds() // 3600)


class RetryForm(ReasonForm):
    """Which channel: one whose address was corrected is another one in the settings."""

    channel = forms.ChoiceField(widget=UnfoldAdminSelectWidget(), label="Send to")
    field_order = ("channel", "reason")

    def __init__(self, data: Any = None, *, message: OutboxMessage) -> None:
        super().__init__(data)
        found = [(each.fingerprint, each.label) for each in channels.configured()]
        if message.recipient_type != OutboxMessage.RecipientType.CHANNEL or not found:
            del self.fields["channel"]
            return
        field = cast("forms.ChoiceField", self.fields["channel"])
        field.choices = found
        after = outbox.successor(message)
        known = dict(found)
        self.initial["channel"] = (
            message.recipient if message.recipient in known else after and after.fingerprint
        )


@admin.register(OutboxMessage)
class OutboxMessageAdmin(LargeTableMixin, PageAdmin):
    list_display = (
        "when", "condition", "severity", "recipient_label", "subject", "attempts", "error",
    )  # fmt: skip
    list_before_template = "tollgate/messages_note.html"
    list_display_links = ("when", "subject")
    list_filter = ("state", "severity", "recipient_type", by_day("created_at"))
    search_fields = ("subject", "recipient_label")
    search_help_text = "a subject or a recipient"
    page_template = "tollgate/message.html"
    ordering = ("-id",)
    sortable_by = ()
    acts = {"retry": "retry"}

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "message": obj,
            "title": obj.subject,
            "address": outbox.address_of(obj),
            "text": outbox.shown(obj),
            "may_retry": self.may_retry(request) and self.ended_unsent(obj),
        }

    @staticmethod
    def may_retry(request: HttpRequest) -> bool:
        return request.user.has_perm(RETRY)

    @staticmethod
    def ended_unsent(message: OutboxMessage) -> bool:
        state = OutboxMessage.State
        return message.state in (state.FAILED, state.SKIPPED, state.UNCONFIRMED)

    def retry(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not self.may_retry(request):
            raise PermissionDenied
        message = self.thing(request, object_id)

        person = cast("User", request.user)  # logged in, or the permission would be missing

        def perform(data: dict[str, Any]) -> str:
            outbox.retry(
                message.pk, by=person, reason=data["reason"], channel=data.get("channel", "")
            )
            return "It is being sent again."

        return self.act(
            request,
            message,
            form=lambda data=None: RetryForm(data, message=message),
            perform=perform,
            refusals=(NotAllowedNow,),
            title=f"Send again: {message.subject}",
            verb="Send it now",
            effects=(
                f"It was for {message.recipient_label}. It is tried for {GIVE_UP_HOURS} hours.",
            ),
        )

    @display(description="written (UTC)")
    def when(self, message: OutboxMessage) -> str:
        return f"{message.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="state")
    def condition(self, message: OutboxMessage) -> str:
        return render_to_string("tollgate/message_state.html", {"message": message})


class PolicyForm(ReasonForm):
    per_person_hour = forms.IntegerField(
        label="Messages per person and hour",
        min_value=1,
        max_value=1000,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="More become one digest at the end of the hour. What needs somebody's signature "
        "is always sent.",
    )
    refusals_minutes = forms.IntegerField(
        label="Minutes between reports of refusals",
        min_value=15,
        max_value=1440,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="For each work order, or shared limit. While refusals go on, the time doubles.",
    )
    field_order = (*preferences.POLICY_FIELDS, "reason")


@admin.register(MessagePolicy)
class MessagePolicyAdmin(PageAdmin):
    list_display = ("__str__", *preferences.POLICY_FIELDS)
    page_template = "tollgate/message_policy.html"
    acts = {"change-policy": "change_policy"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = request.user.has_perm("opslog.change_messagepolicy")
        return {"policy": obj, "may": may, "title": "Message policy"}

    def change_policy(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("opslog.change_messagepolicy"):
            raise PermissionDenied
        policy = self.thing(request, object_id)

        def form(data: Any = None) -> PolicyForm:
            return PolicyForm(
                data, initial={name: getattr(policy, name) for name in preferences.POLICY_FIELDS}
            )

        def perform(said: dict[str, Any]) -> str:
            wanted = {name: said[name] for name in preferences.POLICY_FIELDS}
            preferences.set_policy(wanted, by=request.user.get_username(), reason=said["reason"])
            return "Saved."

        return self.act(
            request,
            policy,
            form=form,
            perform=perform,
            refusals=(NotAllowedNow,),
            title="Message policy",
            verb="Save",
        )
