"""The messages: who was notified of what, and what could not be sent; sent again by
administrators; and the policy for all of them."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.template.loader import render_to_string

from opslog import outbox
from opslog.admin.acts import Act, ReasonForm
from opslog.admin.base import LargeTableMixin, PageAdmin, by_day, moments
from opslog.models import MessagePolicy, OutboxMessage
from opslog.outbox import channels, preferences

UNSENT = {OutboxMessage.State.FAILED, OutboxMessage.State.SKIPPED, OutboxMessage.State.UNCONFIRMED}
GIVE_UP_HOURS = int(outbox.GIVE_UP_AFTER.total_seconds() // 3600)


class RetryForm(ReasonForm):
    """Which channel: one whose address was corrected is another one in the settings."""

    channel = forms.ChoiceField(label="Send to")
    field_order = ("channel", "reason")

    def __init__(self, *args: Any, message: OutboxMessage, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
    acts = {
        "retry": Act(
            title="Send again: {0.subject}",
            permission="opslog.retry_outboxmessage",
            when=lambda _, message: message.state in UNSENT,
            form=RetryForm,
            form_kwargs=lambda _, message: {"message": message},
            effects=(f"It was for {{0.recipient_label}}. It is tried for {GIVE_UP_HOURS} hours.",),
            verb="Send it now",
            perform=lambda request, message, values: outbox.retry(
                message.pk, **values, by=request.user
            ),
            done="It is being sent again.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "message": obj,
            "title": obj.subject,
            "address": outbox.address_of(obj),
            "text": outbox.shown(obj),
        }

    when = moments("created_at", "written", seconds=True)

    @display(description="state")
    def condition(self, message: OutboxMessage) -> str:
        return render_to_string("tollgate/message_state.html", {"message": message})


class PolicyForm(ReasonForm):
    per_person_hour = forms.IntegerField(
        label="Messages per person and hour",
        min_value=1,
        max_value=1000,
        help_text="More become one digest at the end of the hour. What needs somebody's signature "
        "is always sent.",
    )
    refusals_minutes = forms.IntegerField(
        label="Minutes between reports of refusals",
        min_value=15,
        max_value=1440,
        help_text="For each work order, or shared limit. While refusals go on, the time doubles.",
    )
    field_order = (*preferences.POLICY_FIELDS, "reason")


@admin.register(MessagePolicy)
class MessagePolicyAdmin(PageAdmin):
    list_display = ("__str__", *preferences.POLICY_FIELDS)
    page_template = "tollgate/message_policy.html"
    acts = {
        "change-policy": Act(
            title="Message policy",
            permission="opslog.change_messagepolicy",
            form=PolicyForm,
            initial=preferences.POLICY_FIELDS,
            verb="Save",
            perform=lambda request, _, values: preferences.set_policy(
                values, reason=values.pop("reason"), by=request.user.username
            ),
            done="Saved.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"policy": obj, "title": "Message policy"}
