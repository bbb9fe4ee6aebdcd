"""The messages: what was told to whom, and what could not be; sent again by administrators."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string

from opslog import outbox
from opslog.admin.base import LargeTableMixin, PageAdmin, ReasonForm, by_day
from opslog.exceptions import NotAllowedNow
from opslog.models import OutboxMessage

RETRY = "opslog.retry_outboxmessage"


@admin.register(OutboxMessage)
class OutboxMessageAdmin(LargeTableMixin, PageAdmin):
    list_display = ("when", "condition", "recipient_label", "subject", "attempts", "error")
    list_display_links = ("when", "subject")
    list_filter = ("state", "recipient_type", by_day("created_at"))
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
            "most_attempts": outbox.MAX_ATTEMPTS,
            "may_retry": self.may_retry(request) and self.ended_unsent(obj),
        }

    @staticmethod
    def may_retry(request: HttpRequest) -> bool:
        return request.user.has_perm(RETRY)

    @staticmethod
    def ended_unsent(message: OutboxMessage) -> bool:
        return message.state in (OutboxMessage.State.FAILED, OutboxMessage.State.SKIPPED)

    def retry(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not self.may_retry(request):
            raise PermissionDenied
        message = self.thing(request, object_id)

        person = cast("User", request.user)  # logged in, or the permission would be missing

        def perform(data: dict[str, Any]) -> str:
            outbox.retry(message.pk, by=person, reason=data["reason"])
            return "It is sent again now, by the job worker."

        return self.act(
            request,
            message,
            form=ReasonForm,
            perform=perform,
            refusals=(NotAllowedNow,),
            title=f"Send again: {message.subject}",
            verb="Send it now",
            effects=(
                f"It goes to {message.recipient_label}, in up to {outbox.MAX_ATTEMPTS} attempts.",
            ),
        )

    @display(description="written (UTC)")
    def when(self, message: OutboxMessage) -> str:
        return f"{message.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="state")
    def condition(self, message: OutboxMessage) -> str:
        return render_to_string("tollgate/message_state.html", {"message": message})
