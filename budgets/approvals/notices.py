"""Who is told what. Messages go into the outbox, in the transaction of what they tell of."""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Literal

from django.contrib.auth.models import User
from django.urls import reverse

from budgets.approvals.subjects import name_of
from budgets.approvals.wording import told
from budgets.models import ChangeRequest, Grant
from opslog import outbox

# The sources contradict each other on whether finance approves over $10. The matrix rules; finance
# is told (docs/adr/0007).
FINANCE_TOLD_OVER_USD = Decimal("10.00")
CHANNELS: Literal["channels"] = "channels"


def members(*groups: str) -> "list[User]":
    return list(User.objects.filter(is_active=True, groups__name__in=groups).distinct())


def link_to(request: ChangeRequest) -> str:
    return reverse("admin:budgets_changerequest_change", args=[request.pk])


def asker(request: ChangeRequest) -> str:
    """Who asks, as messages say it."""
    name = request.requester.get_username()
    if request.token is None or not request.is_programs:
        return name
    return f"A program with the token {request.token.name} of {name}"


def asked(
    request: ChangeRequest,
    label: str,
    lines: Mapping[str, tuple[Decimal, Decimal]],
    needed: Iterable[str],
    *,
    usd_per_day: Decimal,
    parties: Collection[int],
) -> None:
    """Those who may sign are told, and the channels; and finance, of what goes over $10 a day."""
    approvers = [user for user in members(*needed) if user.pk not in parties]
    for to in (approvers, CHANNELS):
        outbox.send(
            topic="cap_change_asked",
            to=to,
            subject=f"Approval needed: {label}",
            text=f"{asker(request)} asks for {told(lines)} on {label}.\n\n{request.justification}",
            link=link_to(request),
            key=f"{request.pk}:{request.revision}",
        )
    if usd_per_day > FINANCE_TOLD_OVER_USD:
        outbox.send(
            topic="cap_change_finance",
            to=[user for user in members("finance") if user not in approvers],
            subject=f"For your information: {label} asks for over $10 a day",
            text=f"{told(lines)} on {label}. Your signature is not needed for it.",
            link=link_to(request),
            key=f"{request.pk}:{request.revision}",
        )


def still_waiting(request: ChangeRequest) -> None:
    """The requester hears that one signature is there and others are not yet."""
    outbox.send(
        topic="cap_change_signed",
        to=[request.requester],
        subject=f"One signature on your request for {name_of(request)}",
        text="Others are still needed.",
        link=link_to(request),
        key=f"{request.pk}:{request.votes.count()}",
    )


def taken_over(request: ChangeRequest, *, by: User) -> None:
    """The owner of the token hears that a person has made the request theirs."""
    owner = request.token_owner
    outbox.send(
        topic="cap_change_taken_over",
        to=[owner] if owner is not None and owner.pk != by.pk else [],
        subject=f"Request on {name_of(request)}: taken over",
        text=f"{by.get_username()} has taken over what your token requested, and edited it.",
        link=link_to(request),
        key=f"{request.pk}:{request.revision}",
    )


def closed(request: ChangeRequest, *, by: str, note: str, person: User | None) -> None:
    """The requester, the token's owner, everybody who has voted, and the channels hear how it
    ended; but for the person who did it."""
    people = {request.requester_id: request.requester}
    if request.token_owner is not None:
        people[request.token_owner.pk] = request.token_owner
    people |= {vote.voter_id: vote.voter for vote in request.votes.select_related("voter")}
    others = [user for user in people.values() if person is None or user.pk != person.pk]
    for to in (others, CHANNELS):
        outbox.send(
            topic="cap_change_closed",
            to=to,
            subject=f"Request on {name_of(request)}: {request.get_status_display()}",
            text=f"By {by}: {note}",
            link=link_to(request),
            key=str(request.pk),
        )


def reminder(request: ChangeRequest, number: int, people: Iterable[User]) -> None:
    outbox.send(
        topic="cap_change_reminder",
        to=list(people),
        subject=f"Still waiting for a decision: {name_of(request)}",
        text=f"The request expires at {request.expires_at:%Y-%m-%d %H:%M} UTC.",
        link=link_to(request),
        key=f"{request.pk}:{number}",
    )


def glass_broken(label: str, grants: list[Grant], *, by: User, minutes: int) -> None:
    """Everybody who decides, and administrators; and the channels."""
    subject = f"Break-glass by {by.get_username()} on {label}"
    text = (
        "; ".join(f"{g.get_measure_display()} {g.value}" for g in grants)
        + f" for {minutes} minutes.\n\n{grants[0].reason}\n\nIt must be reviewed within 24 hours."
    )
    link = reverse("admin:budgets_grant_change", args=[grants[0].pk])
    everybody = members("operations", "director", "finance", "vp", "administrator")
    for to in (everybody, CHANNELS):
        outbox.send(
            topic="break_glass", to=to, subject=subject, text=text, link=link, key=str(grants[0].pk)
        )


def rules_changed(summary: str, *, by: User, key: str) -> None:
    """Everybody who can vote."""
    outbox.send(
        topic="approval_rules",
        to=members("operations", "director", "finance", "vp"),
        subject="The approval rules were changed",
        text=f"By {by.get_username()}: {summary}",
        link=reverse("admin:budgets_approvalrule_changelist"),
        key=key,
    )
