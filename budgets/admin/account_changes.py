"""What waits for a second administrator, and what became of it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextareaWidget

from budgets import accounts
from budgets.exceptions import Refused
from budgets.models import AccountChange
from opslog.admin.base import PageAdmin, SureForm, badge

ADMINISTER = "auth.change_user"
BADGES = {"confirmed": "applied", "pending": "pending"}


class RefusalForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Recorded with your name. The person and all administrators are notified.",
    )


@admin.register(AccountChange)
class AccountChangeAdmin(PageAdmin):
    list_display = ("number", "what", "state", "proposer", "proposed")
    list_display_links = ("number", "what")
    list_filter = ("status",)
    list_select_related = ("person", "proposed_by")
    list_before_template = "budgets/account_changes_note.html"
    search_fields = ("=id", "person__username")
    search_help_text = "a username"
    page_template = "budgets/account_change.html"
    sortable_by = ()
    acts = {"confirm": "confirm", "refuse": "refuse"}

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        is_open = obj.status == "pending" and obj.expires_at > timezone.now()
        user: Any = request.user
        administers = user.has_perm(ADMINISTER)
        return {
            "change": obj,
            "title": accounts.headline(obj),
            "state": state_of(obj),
            "is_open": is_open,
            "why_not": accounts.why_not(obj, user) if is_open and administers else "",
            "administers": administers,
            "able": accounts.confirmers(obj) if is_open else (),
            "is_stale": is_open
            and (obj.person.username, obj.person.email) != (obj.seen_username, obj.seen_email),
            "rights": sorted(group.name for group in obj.person.groups.all()),
        }

    def confirm(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        change = self._to_decide(request, object_id)
        by: Any = request.user

        def perform(said: dict[str, Any]) -> str:
            done = accounts.confirm(change.pk, by=by)
            if done.status == AccountChange.Status.STALE:
                return f"Not confirmed: {done.closing_note}."
            return f"Confirmed: {accounts.headline(done)}."

        return self.act(
            request,
            change,
            form=SureForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Confirm: {accounts.headline(change)}",
            verb="Confirm",
            effects=(
                f"{change.proposer} proposed this. You vouch for {change.person}.",
                f"Email on file: {change.person.email or 'none'}. Make sure that it is theirs.",
                "It takes effect immediately. A new member's approvals count after a waiting time.",
                f"{change.person} and all administrators are notified, with both of your names.",
            ),
        )

    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        change = self._to_decide(request, object_id)
        by: Any = request.user

        def perform(said: dict[str, Any]) -> str:
            accounts.refuse(change.pk, by=by, note=said["reason"])
            return "Refused. Nothing was changed."

        return self.act(
            request,
            change,
            form=RefusalForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Refuse: {accounts.headline(change)}",
            verb="Refuse",
            effects=("The account stays as it is. The change can be proposed again.",),
        )

    def _to_decide(self, request: HttpRequest, object_id: str) -> Any:
        if not request.user.has_perm(ADMINISTER):
            raise PermissionDenied
        return self.thing(request, object_id)

    @display(description="number")
    def number(self, change: AccountChange) -> str:
        return f"#{change.pk}"

    @display(description="change")
    def what(self, change: AccountChange) -> str:
        return accounts.headline(change)

    @display(description="state")
    def state(self, change: AccountChange) -> str:
        state = state_of(change)
        return badge(BADGES.get(state, state), "" if state == "pending" else state)

    @display(description="proposed (UTC)")
    def proposed(self, change: AccountChange) -> str:
        return f"{change.proposed_at:%Y-%m-%d %H:%M}"


def state_of(change: AccountChange) -> str:
    overdue = change.status == "pending" and change.expires_at <= timezone.now()
    return "expired" if overdue else change.status
