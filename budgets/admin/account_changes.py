"""What waits for a second administrator, and what became of it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.utils import timezone

from budgets import accounts
from budgets.models import AccountChange
from opslog.admin.acts import Act, ReasonForm, StaffRequest, SureForm
from opslog.admin.base import PageAdmin, badge, column, moments

ADMINISTER = "auth.change_user"
BADGES = {"confirmed": "applied", "pending": "pending"}


class RefusalForm(ReasonForm):
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Recorded with your name. The person and all administrators are notified.",
    )


def confirm(request: StaffRequest, change: AccountChange, _: dict[str, Any]) -> str:
    done = accounts.confirm(change.pk, by=request.user)
    if done.status == AccountChange.Status.STALE:
        return f"Not confirmed: {done.closing_note}."
    return f"Confirmed: {accounts.headline(done)}."


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
    acts = {
        "confirm": Act(
            title=lambda _, change: f"Confirm: {accounts.headline(change)}",
            permission=ADMINISTER,
            form=SureForm,
            effects=lambda _, change: (
                f"{change.proposer} proposed this. You vouch for {change.person}.",
                f"Email on file: {change.person.email or 'none'}. Make sure that it is theirs.",
                "It takes effect immediately. A new member's approvals count after a waiting time.",
                f"{change.person} and all administrators are notified, with both of your names.",
            ),
            verb="Confirm",
            perform=confirm,
        ),
        "refuse": Act(
            title=lambda _, change: f"Refuse: {accounts.headline(change)}",
            permission=ADMINISTER,
            form=RefusalForm,
            effects=("The account stays as it is. The change can be proposed again.",),
            verb="Refuse",
            perform=lambda request, change, values: accounts.refuse(
                change.pk, by=request.user, note=values["reason"]
            ),
            done="Refused. Nothing was changed.",
        ),
    }

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        is_open = obj.status == "pending" and obj.expires_at > timezone.now()
        administers = request.user.has_perm(ADMINISTER)
        return {
            "change": obj,
            "title": accounts.headline(obj),
            "state": state_of(obj),
            "is_open": is_open,
            "why_not": accounts.why_not(obj, request.user) if is_open and administers else "",
            "administers": administers,
            "able": accounts.confirmers(obj) if is_open else (),
            "is_stale": is_open
            and (obj.person.username, obj.person.email) != (obj.seen_username, obj.seen_email),
            "rights": sorted(group.name for group in obj.person.groups.all()),
        }

    number = column("number", lambda change: f"#{change.pk}")
    what = column("change", accounts.headline)

    @display(description="state")
    def state(self, change: AccountChange) -> str:
        state = state_of(change)
        return badge(BADGES.get(state, state), "" if state == "pending" else state)

    proposed = moments("proposed_at", "proposed")


def state_of(change: AccountChange) -> str:
    overdue = change.status == "pending" and change.expires_at <= timezone.now()
    return "expired" if overdue else change.status
