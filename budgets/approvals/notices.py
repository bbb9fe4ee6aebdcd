"""Who is notified of what. Messages go into the outbox, in the transaction of what they report."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from budgets.approvals import solo_operator
from budgets.approvals.subjects import name_of
from budgets.approvals.wording import describe
from budgets.models import ChangeRequest, Grant
from opslog import outbox
from opslog.groups import members
from opslog.models import Severity
from opslog.outbox.notices import Notice, moment

# The sources contradict each other on whether finance approves over $10. The matrix rules; finance
# is notified (docs/adr/0007).
FINANCE_TOLD_OVER_USD = Decimal("10.00")
ASKED = ("cap_change_asked", "cap_change_reminder")
GLASS = "break_glass"
ENDINGS = {
    ChangeRequest.Status.APPLIED: "It is in force. Nothing more is needed.",
    ChangeRequest.Status.REFUSED: "Read why; make another request if the need remains.",
    ChangeRequest.Status.EXPIRED: "Make another request if the need remains.",
    ChangeRequest.Status.STALE: "Make another request, from the caps in force now.",
}


def link_to(request: ChangeRequest) -> str:
    return reverse("admin:budgets_changerequest_change", args=[request.pk])


def asker(request: ChangeRequest) -> str:
    """Who asks, as messages say it."""
    name = request.requester.get_username()
    if request.token is None or not request.is_programs:
        return name
    return f"a program with the token {request.token.name} of {name}"


def change_of(request: ChangeRequest) -> str:
    """From what to what a request changes its subject."""
    return describe({line.measure: (line.old, line.new) for line in request.lines.all()})


def asked(
    request: ChangeRequest,
    label: str,
    lines: Mapping[str, tuple[Decimal, Decimal]],
    needed: Iterable[str],
    *,
    usd_per_day: Decimal,
    parties: Collection[int],
) -> None:
    """Those who can sign are notified, and the channels; and finance, of what goes over $10."""
    approvers = [user for user in members(*needed) if user.pk not in parties]
    now, key = timezone.now(), f"{request.pk}:{request.revision}"
    notice = Notice(
        what=f"Approval needed: {label}",
        change=describe(lines),
        by=asker(request),
        at=now,
        severity=Severity.WARNING,
        action=f"Approve or refuse it by {moment(request.expires_at)}; then it expires.",
        details=request.justification,
    )
    outbox.send(
        topic="cap_change_asked",
        to=approvers,
        channels=True,
        notice=notice,
        link=link_to(request),
        key=key,
        mandatory=True,
    )
    if usd_per_day > FINANCE_TOLD_OVER_USD:
        outbox.send(
            topic="cap_change_finance",
            to=[user for user in members("finance") if user not in approvers],
            notice=Notice(
                what=f"A cap change over $10 a day was requested: {label}",
                change=describe(lines),
                by=asker(request),
                at=now,
                severity=Severity.INFO,
                action="Nothing: your signature is not needed for it.",
                details=request.justification,
            ),
            link=link_to(request),
            key=key,
        )


def still_waiting(request: ChangeRequest) -> None:
    """The requester is notified that one signature is there and others are not yet."""
    votes = request.votes.filter(revision=request.revision).order_by("pk")
    last = votes.last()
    outbox.send(
        topic="cap_change_signed",
        to=[request.requester],
        notice=Notice(
            what=f"Your request for {name_of(request)} was signed, and needs more signatures",
            change=f"{votes.count() - 1} → {votes.count()} signatures ({change_of(request)})",
            by=last.voter.get_username() if last else "an approver",
            severity=Severity.INFO,
            action=f"Wait for the others; it expires at {moment(request.expires_at)}.",
        ),
        link=link_to(request),
        key=f"{request.pk}:{request.votes.count()}",
    )


def taken_over(request: ChangeRequest, *, by: User) -> None:
    """The owner of the token is notified that a person has made the request theirs."""
    owner = request.token_owner
    outbox.send(
        topic="cap_change_taken_over",
        to=[owner] if owner is not None and owner.pk != by.pk else [],
        notice=Notice(
            what=f"The request of your token for {name_of(request)} was taken over and edited",
            change=change_of(request),
            by=by.get_username(),
            severity=Severity.INFO,
            action="Nothing, unless the new values are wrong: then talk to them.",
        ),
        link=link_to(request),
        key=f"{request.pk}:{request.revision}",
    )


def closed(request: ChangeRequest, *, by: str, note: str, person: User | None) -> None:
    """The requester, the token's owner, everybody who voted or was asked to, and the channels are
    notified of how it ended; but for the person who did it."""
    people = {request.requester_id: request.requester}
    if request.token_owner is not None:
        people[request.token_owner.pk] = request.token_owner
    people |= {vote.voter_id: vote.voter for vote in request.votes.select_related("voter")}
    people |= {user.pk: user for user in outbox.people_asked(*ASKED, key=str(request.pk))}
    others = [user for user in people.values() if person is None or user.pk != person.pk]
    applied = request.status == ChangeRequest.Status.APPLIED
    status = request.get_status_display()
    notice = Notice(
        what=f"The request for {name_of(request)} is {status}",
        change=change_of(request) if applied else f"waiting → {status} ({change_of(request)})",
        by=by,
        at=request.decided_at or timezone.now(),
        severity=Severity.INFO,
        action=ENDINGS.get(ChangeRequest.Status(request.status), "Nothing."),
        details=note,
    )
    outbox.send(
        topic="cap_change_closed",
        to=others,
        channels=True,
        notice=notice,
        link=link_to(request),
        key=str(request.pk),
    )


def reminder(request: ChangeRequest, number: int, people: Iterable[User]) -> None:
    outbox.send(
        topic="cap_change_reminder",
        to=list(people),
        notice=Notice(
            what=f"Reminder: a request for {name_of(request)} still needs a decision",
            change=change_of(request),
            by=asker(request),
            severity=Severity.WARNING,
            action=f"Approve or refuse it by {moment(request.expires_at)}; then it expires.",
            details=request.justification,
        ),
        link=link_to(request),
        key=f"{request.pk}:{number}",
        mandatory=True,
    )


def glass_broken(label: str, grants: list[Grant], *, by: User, change: str, minutes: int) -> None:
    """Everybody who decides, and administrators; and the channels."""
    first = grants[0]
    notice = Notice(
        what=f"Break-glass on {label} for {minutes} minutes",
        change=change,
        by=by.get_username(),
        at=first.starts_at,
        severity=Severity.CRITICAL,
        action="Review it within 24 hours, as somebody else who decides on cap changes.",
        details=first.reason,
    )
    everybody = members("operations", "director", "finance", "vp", "administrator")
    _of_glass(first, everybody, notice, key=str(first.pk), signs=True)


def glass_overdue(grant: Grant) -> None:
    """Nobody reviewed it in time, so the next use is refused."""
    solo = solo_operator.in_effect()
    own = solo is not None and solo.person_id == grant.person_id
    notice = Notice(
        what=f"The review of a break-glass on {grant.wo_id} is overdue",
        change="to be reviewed within 24 hours → overdue; the next break-glass is refused",
        by=grant.granted_by,
        severity=Severity.ERROR,
        action="Review it now, with your second factor."
        if own
        else "Review it now, as somebody else who decides on cap changes.",
        details=f"{grant.get_measure_display()} {grant.value:f} until {moment(grant.ends_at)}: "
        f"{grant.reason}",
    )
    people = [
        user
        for user in members("operations", "director", "finance", "vp", "administrator")
        if own or user.pk != grant.person_id
    ]
    _of_glass(grant, people, notice, key=f"{grant.pk}:overdue", signs=True)


def glass_reviewed(grant: Grant, *, by: User) -> None:
    """Whoever was asked to review it, and who used it."""
    people = {user.pk: user for user in outbox.people_asked(GLASS, key=str(grant.pk))}
    if grant.person is not None:
        people[grant.person.pk] = grant.person
    notice = Notice(
        what=f"The break-glass on {grant.wo_id} was reviewed",
        change="to be reviewed → reviewed",
        by=by.get_username(),
        at=grant.reviewed_at or timezone.now(),
        severity=Severity.INFO,
        action="Nothing.",
        details=grant.review,
    )
    others = [user for user in people.values() if user.pk != by.pk]
    _of_glass(grant, others, notice, key=f"{grant.pk}:reviewed", signs=False)


def _of_glass(
    grant: Grant, people: Sequence[User], notice: Notice, *, key: str, signs: bool
) -> None:
    outbox.send(
        topic=GLASS,
        to=people,
        channels=True,
        notice=notice,
        link=reverse("admin:budgets_grant_change", args=[grant.pk]),
        key=key,
        mandatory=signs,
    )


def rules_changed(label: str, change: str, reason: str, *, by: User, key: str) -> None:
    """Everybody who can vote."""
    outbox.send(
        topic="approval_rules",
        to=members("operations", "director", "finance", "vp"),
        notice=Notice(
            what=f"The approval rules for {label} were changed",
            change=change,
            by=by.get_username(),
            severity=Severity.WARNING,
            action="Look at who has to sign from now on; open requests are judged by the new "
            "rules.",
            details=reason,
        ),
        link=reverse("admin:budgets_approvalrule_changelist"),
        key=key,
    )
