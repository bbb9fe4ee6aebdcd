"""Who may sign, who has signed, and whether anybody could."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q, QuerySet
from django.utils import timezone

from budgets import accounts
from budgets.approvals import rules, solo_operator
from budgets.approvals.needs import Known, slots_of
from budgets.approvals.solo_operator import SoloOperator
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Vote
from workorders.models import ServiceToken


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """One signature that is asked for; `filled_by` is a username, or empty."""

    group: str
    filled_by: str


# What `counting_groups` reads of many people at once.
WITH_GROUPS = ("groups", "memberships")


def groups_of(user: User, *, at: datetime | None = None) -> set[str]:
    """The groups that this person signs for now (at that moment): see `budgets.accounts`."""
    return accounts.counting_groups(user, at=at)


def holds(user: User | AnonymousUser, codename: str) -> bool:
    """Whether somebody was given a permission of budgets, by name or through a group that they act
    for by now: what a superuser has by being one does not count where one person acts alone."""
    if not isinstance(user, User) or not user.is_active:
        return False
    return (
        Permission.objects.filter(content_type__app_label="budgets", codename=codename)
        .filter(Q(user=user) | Q(group__name__in=groups_of(user)))
        .exists()
    )


# What makes somebody a party to a request, as others and as they themselves read it.
ROLES = {
    "requester": ("requested it", "you requested it"),
    "token_owner": ("owns the token that requested it", "you own the token that requested it"),
    "token_maker": ("made the token that requested it", "you made the token that requested it"),
    "subject_owner": ("owns the token it is about", "you own the token it is about"),
    "subject_maker": ("made the token it is about", "you made the token it is about"),
}


def parties(request: ChangeRequest) -> dict[int, list[str]]:
    """Who has no vote because the request is theirs, by id, each with what makes it theirs (of
    ROLES): who asked, and the owner and the makers of the token that asked, as they were recorded
    then and as they are now, with those of the tokens it was rotated from or to. A trigger on votes
    holds the same."""
    held: list[tuple[str, int | None]] = [("requester", request.requester_id)]
    if request.token is not None:
        held += [
            ("token_owner", request.token_owner_id),
            ("token_owner", request.token.owner_id),
            ("token_maker", request.token_maker_id),
            *(("token_maker", maker) for maker in _makers(request, request.token)),
        ]
    if request.subject_type == "service_token":  # its own ceiling
        line = ServiceToken.objects.filter(
            lineage__in=ServiceToken.objects.filter(pk=request.subject_id).values("lineage")
        )
        for owner, maker in line.values_list("owner_id", "created_by_id"):
            held += [("subject_owner", owner), ("subject_maker", maker)]
    found: dict[int, list[str]] = {}
    for role, person in held:
        if person is not None and role not in found.setdefault(person, []):
            found[person].append(role)
    return found


def waiting() -> "QuerySet[ChangeRequest]":
    """The requests that wait for approval, the oldest first, with all that is judged of them."""
    return (
        with_parties(ChangeRequest.objects.waiting())
        .prefetch_related("lines", "votes")
        .order_by("created_at")
    )


def with_parties(requests: "QuerySet[ChangeRequest]") -> "QuerySet[ChangeRequest]":
    """With what `parties` looks at, so that many requests need no more queries than one."""
    makers = ServiceToken.objects.filter(
        lineage=OuterRef("token__lineage"), created_by__isnull=False
    ).values("created_by")
    return requests.select_related("requester", "token").annotate(makers=ArraySubquery(makers))


def _makers(request: ChangeRequest, token: ServiceToken) -> list[int]:
    if hasattr(request, "makers"):
        return list(request.makers)
    line = ServiceToken.objects.filter(lineage=token.lineage, created_by__isnull=False)
    return list(line.values_list("created_by_id", flat=True))


def named_parties(request: ChangeRequest) -> list[tuple[str, list[str]]]:
    """The parties of a request by their usernames, each with their roles; one query at most."""
    held = parties(request)
    people = {request.requester_id: request.requester}
    if others := held.keys() - people.keys():
        people |= User.objects.in_bulk(others)
    return [(people[pk].get_username(), roles) for pk, roles in held.items()]


def may_decide(request: ChangeRequest, user: User, known: Known | None = None) -> str:
    """Empty when this person may decide on this request, else the reason why not."""
    if request.status != ChangeRequest.Status.PENDING:
        return "The request is decided."
    if request.state == ChangeRequest.Status.EXPIRED:
        return "The request has expired."
    if not decides(user):
        return "You do not decide on cap changes."
    return _why_not(request, user.pk, accounts.memberships_of(user), known)


def decides(user: User) -> bool:
    """Whether this person decides on cap changes at all."""
    return user.is_active and user.has_perm("budgets.decide_changerequest")


def solo_signature(
    request: ChangeRequest,
    user_id: int,
    memberships: Mapping[str, datetime] | None = None,
    known: Known | None = None,
) -> SoloOperator | None:
    """The solo operator, where this person is that and their one signature would stand for all:
    because the request is theirs, or because it asks for more people than there are. Without
    `memberships` they are read."""
    try:
        needed = slots_of(request, known)
    except Refused:
        return None
    if sum(needed.values()) == 1 and user_id not in parties(request):
        return None
    solo = known.solo if known else solo_operator.in_effect()
    if solo is None or solo.person_id != user_id:
        return None
    if memberships is None:
        memberships = accounts.memberships_of(User.objects.get(pk=user_id))
    mine = accounts.counting(memberships, timezone.now())
    return solo if solo_operator.covers(solo, mine, needed) else None


def _why_not(
    request: ChangeRequest, user_id: int, memberships: Mapping[str, datetime], known: Known | None
) -> str:
    solo = solo_signature(request, user_id, memberships, known)
    if solo and (reason := solo.why_not_yet(request.waits_since)):
        return reason
    if not solo and (roles := parties(request).get(user_id)):
        yours = " and ".join(ROLES[role][1] for role in roles)
        return f"Nobody approves their own request: {yours}."
    try:
        needed = slots_of(request, known)
    except Refused as error:
        return str(error)
    if not accounts.counting(memberships, timezone.now()) & set(needed):
        if waits := [at for name, at in memberships.items() if name in needed]:
            return f"Your approvals count from {min(waits):%Y-%m-%d %H:%M} UTC."
        return f"This needs {' and '.join(sorted(needed))}."
    if any(
        vote.revision == request.revision and vote.voter_id == user_id
        for vote in request.votes.all()
    ):
        return "You have decided on this request."
    return ""


def waiting_for(user: User) -> list[ChangeRequest]:
    """The pending requests that this person may decide now, oldest first. The number of queries
    does not grow with the number of requests."""
    if not decides(user):
        return []
    pending = list(waiting())
    if not pending:  # as on most pages, whose navigation asks for them
        return []
    memberships = accounts.memberships_of(user)
    known = Known.about(request.subject_id for request in pending)
    return [request for request in pending if not _why_not(request, user.pk, memberships, known)]


def votes_of(request_ids: Iterable[int]) -> list[Vote]:
    """The votes on some requests, with their voters and the groups of those, in order."""
    return list(
        Vote.objects.filter(request__in=list(request_ids))
        .select_related("voter")
        .prefetch_related(*(f"voter__{each}" for each in WITH_GROUPS))
        .order_by("id")
    )


def assignment(
    request: ChangeRequest, needed: Mapping[str, int], votes: Iterable[Vote] | None = None
) -> dict[int, str]:
    """Who fills which slot: every approval judged again, under the memberships of this moment.

    `votes` has those of `votes_of`, where they are read for many requests at once.
    """
    if votes is None:
        votes = votes_of([request.pk])
    counted = [
        (vote.voter_id, frozenset(groups_of(vote.voter)))
        for vote in votes
        if (vote.request_id, vote.revision) == (request.pk, request.revision)
        and vote.decision == Vote.Decision.APPROVE
        and vote.voter.is_active
        and vote.voter_id not in parties(request)
    ]
    return rules.assign(needed, counted)


def solo_vote(request: ChangeRequest, needed: Mapping[str, int]) -> Vote | None:
    """The one approval that stands for all slots: of who is the solo operator at this moment."""
    for vote in votes_of([request.pk]):
        if (
            vote.second_factor_at is not None
            and vote.revision == request.revision
            and vote.decision == Vote.Decision.APPROVE
        ):
            solo = solo_operator.for_person(vote.voter)
            if solo_operator.covers(solo, groups_of(vote.voter), needed):
                return vote
    return None


def open_slots(
    request: ChangeRequest, known: Known | None = None, votes: Iterable[Vote] | None = None
) -> list[OpenSlot]:
    """Every signature the request needs, and who has given it so far. For many requests, `known`
    and `votes` (of `votes_of`) are read once."""
    needed = slots_of(request, known)
    votes = votes_of([request.pk]) if votes is None else list(votes)
    filled = assignment(request, needed, votes)
    names = {vote.voter_id: vote.voter.get_username() for vote in votes}
    slots = []
    for group, count in sorted(needed.items()):
        signed = [names[person] for person, seat in filled.items() if seat == group]
        slots += [OpenSlot(group, name) for name in signed]
        slots += [OpenSlot(group, "")] * (count - len(signed))
    return slots


def voters(groups: set[str]) -> "QuerySet[User]":
    """The active people of these groups who may decide."""
    return (
        User.objects.filter(is_active=True, groups__name__in=groups)
        .distinct()
        .prefetch_related(*WITH_GROUPS)
    )


def impossible(
    request: ChangeRequest, known: Known | None = None, everybody: list[User] | None = None
) -> str:
    """Why an open request can no longer be approved by anybody; empty when it can.

    People leave and change groups: then the slots may need more distinct people than there are. For
    many requests, `known` and `everybody` who may vote are read once.
    """
    if request.status != ChangeRequest.Status.PENDING:
        return ""
    try:
        needed = slots_of(request, known)
    except Refused as error:
        return str(error)
    theirs = parties(request)
    if everybody is None:
        everybody = list(voters(set(needed)))
    others = [person for person in everybody if person.pk not in theirs]
    return _unfillable_by(needed, others, everybody, known, by=request.expires_at)


def impossible_requests() -> list[tuple[ChangeRequest, str]]:
    """The open requests that nobody can approve any more, each with the reason. The number of
    queries does not grow with the number of requests."""
    pending = list(waiting())
    known = Known.about(request.subject_id for request in pending)
    everybody = list(voters({group for rule in known.rules for group in rule.slots}))
    reasons = ((request, impossible(request, known, everybody)) for request in pending)
    return [(request, reason) for request, reason in reasons if reason]


def _unfillable_by(
    needed: Mapping[str, int],
    others: list[User],
    everybody: list[User],
    known: Known | None,
    *,
    by: datetime,
) -> str:
    """As `unfillable` of the others; empty as well where a solo operator can sign for all."""
    reason = unfillable(needed, others, by=by)
    if reason and (solo := known.solo if known else solo_operator.in_effect()):
        mine = [groups_of(each, at=by) for each in everybody if each.pk == solo.person_id]
        if mine and solo_operator.covers(solo, mine[0], needed):
            return ""
    return reason


def unfillable(needed: Mapping[str, int], people: Iterable[User], *, by: datetime) -> str:
    """Why these people cannot fill these slots until then, each with somebody else; empty when
    they can. Who is waiting for their membership to count may do so by then."""
    seats = rules.assign(
        needed, [(person.pk, frozenset(groups_of(person, at=by))) for person in people]
    )
    if rules.is_filled(needed, seats):
        return ""
    taken = list(seats.values())
    missing = sorted(group for group, count in needed.items() if taken.count(group) < count)
    return f"There is nobody left to sign for {' and '.join(missing) or 'it'}."
