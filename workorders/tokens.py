"""Service tokens: made, judged, rotated, revoked.

A token is 256 random bits. Only its SHA-256 is kept: with that much randomness a slow hash adds
nothing, and a look-up by digest has no comparison whose timing could tell anything.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from opslog import events, outbox
from opslog.database import authority
from opslog.exceptions import NotAllowedNow
from opslog.identities import canonical
from opslog.models import Severity
from opslog.outbox.notices import Notice, moment
from opslog.principal import Principal
from workorders.models import Scope, ServiceToken, TokenPolicy

PREFIX = "tg_"
VISIBLE = 8  # characters of the text that stay readable
MAX_LENGTH = 100
REMIND_DAYS = (3, 14)  # before a token expires, its owner gets a message
FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{1,{MAX_LENGTH - len(PREFIX)}}}")
EVERYTHING = "*"  # in the place of a work order: what all of them share


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """Why a token is not good for a request. `status` is 401 or 403."""

    status: int
    denial: str
    error: str


# What the database says of a token that it does not know (`tollgate_token_answer`).
UNKNOWN = TokenRefusal(401, "token", "the token is missing, unknown, expired or revoked")


def text_of(meta: Mapping[str, Any]) -> str:
    """The token in the headers, from `Authorization: Bearer …` or `x-api-key: …`; "" without one.

    `meta` is a CGI environment: `request.META`, or what a server has before there is a request.
    """
    authorization: str = meta.get("HTTP_AUTHORIZATION", "")
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() == "bearer" and text:
        return text.strip()
    return str(meta.get("HTTP_X_API_KEY", "")).strip()


def plausible(text: str) -> bool:
    """Whether it has the form of a token; one that has not is unknown without being looked up."""
    return FORM.fullmatch(text) is not None


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def policy() -> TokenPolicy:
    """What holds for new tokens where nothing else is set."""
    return TokenPolicy.objects.get()


def create(
    *,
    name: str,
    scopes: Sequence[str],
    owner: User,
    by: str,
    created_by: User | None = None,
    expires_at: datetime | None = None,
    never_expires: bool = False,
    networks: Sequence[str] = (),
    work_orders: Sequence[str] = (),
    surface: str = "",
    feature: str = "",
) -> tuple[ServiceToken, str]:
    """Make a token and give it with its text, which is nowhere kept: show it once.

    `created_by` is the person who sees that text; None on the command line.

    Without `expires_at` it expires after the days of the token policy; never only on purpose.
    Raises ValueError for an unknown scope or none, and django's ValidationError for a bad network.
    """
    unknown = set(scopes) - set(Scope.values)
    if unknown or not scopes:
        raise ValueError(f"scopes are some of {', '.join(Scope.values)}, not {sorted(unknown)}")
    text = new_text()
    with transaction.atomic():
        if never_expires:
            expires_at = None
        elif expires_at is None:
            expires_at = timezone.now() + timedelta(days=policy().lifetime_days)
        token = ServiceToken.objects.create(
            name=name,
            prefix=text[:VISIBLE],
            digest=digest(text),
            scopes=sorted(set(scopes)),
            owner=owner,
            created_by=created_by,
            expires_at=expires_at,
            networks=list(networks),
            work_orders=list(work_orders),
            surface=canonical(surface),
            feature=canonical(feature),
        )
        _record_created(token, by=by)
    return token, text


def new_text() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def rotate(
    token_id: int,
    *,
    by: str,
    reason: str,
    created_by: User | None = None,
    expires_at: datetime | None = None,
    overlap: timedelta | None = None,
) -> tuple[ServiceToken, str]:
    """Make the successor of a token, with the same owner and rights, and give it with its text,
    which is nowhere kept. The predecessor expires after `overlap` (that of the token policy where
    None is given), or earlier where it would have anyway.

    Runs, idempotency keys and kill switches belong to the line, so both reach them. Only the newest
    of a line is rotated. Raises NotAllowedNow.
    """
    if not reason.strip():
        raise NotAllowedNow("A rotation needs a reason.")
    text = new_text()
    with transaction.atomic():
        # Not FOR UPDATE, with which the foreign key of its last use would conflict.
        old = ServiceToken.objects.select_for_update(no_key=True, of=("self",)).get(pk=token_id)
        if old.revoked_at:
            raise NotAllowedNow("It is revoked. Make a new token instead.")
        if ServiceToken.objects.filter(predecessor=old).exists():
            raise NotAllowedNow("It was rotated already. Rotate its successor.")
        if not old.owner.is_active:
            raise NotAllowedNow("The account of its owner is switched off.")
        rules, now = policy(), timezone.now()
        if overlap is None:
            overlap = timedelta(hours=rules.overlap_hours)
        ends = now + overlap
        if old.expires_at:
            ends = min(ends, old.expires_at)
        new = ServiceToken.objects.create(
            name=old.name,
            max_run_usd=old.max_run_usd,
            prefix=text[:VISIBLE],
            digest=digest(text),
            scopes=old.scopes,
            owner=old.owner,
            created_by=created_by,
            expires_at=expires_at or now + timedelta(days=rules.lifetime_days),
            networks=old.networks,
            work_orders=old.work_orders,
            surface=old.surface,
            feature=old.feature,
            predecessor=old,
        )
        ServiceToken.objects.filter(pk=old.pk).update(expires_at=ends)
        events.record(
            "TOKEN_ROTATED",
            message=f"Service token {old.name} rotated; {old.prefix}… is valid until"
            f" {ends:%Y-%m-%d %H:%M} UTC",
            owner=("service_token", str(old.pk)),
            label=old.name,
            actor=by,
            meta={
                "prefix": old.prefix,
                "successor": new.pk,
                "successorPrefix": new.prefix,
                "lineage": old.lineage,
                "validUntil": ends.isoformat(),
                "reason": reason,
            },
        )
        _record_created(new, by=by, old=old)
    return new, text


def _record_created(token: ServiceToken, *, by: str, old: ServiceToken | None = None) -> None:
    """`old`: its predecessor."""
    predecessor = f", successor of {old.prefix}…" if old else ""
    events.record(
        "TOKEN_CREATED",
        message=f"Service token {token.name} made for {token.owner.get_username()}{predecessor}",
        owner=("service_token", str(token.pk)),
        label=token.name,
        actor=by,
        meta={
            "prefix": token.prefix,
            "scopes": token.scopes,
            "networks": token.networks,
            "workOrders": token.work_orders,
            "expiresAt": token.expires_at and token.expires_at.isoformat(),
            **({"predecessor": old.pk, "lineage": old.lineage} if old else {}),
        },
    )


def line_of(token: ServiceToken) -> "QuerySet[ServiceToken]":
    """All tokens of its line, oldest first, itself among them."""
    return ServiceToken.objects.filter(lineage=token.lineage).order_by("pk")


def live(at: datetime) -> "QuerySet[ServiceToken]":
    """Neither revoked nor expired. (The owner's account may be switched off.)"""
    return ServiceToken.objects.filter(Q(expires_at=None) | Q(expires_at__gt=at), revoked_at=None)


def expiring(at: datetime, *, days: int) -> "QuerySet[ServiceToken]":
    """Live tokens that expire within so many days, and that nobody has rotated."""
    return live(at).filter(expires_at__lte=at + timedelta(days=days), successor=None)


def remind() -> int:
    """Queue a message to the owners of tokens that expire within 14 days, and again within 3; each
    once, however often this runs. Returns how many are due.

    A token that was made for a shorter time than that is none to remind of.
    """
    now, due = timezone.now(), 0
    with transaction.atomic():
        for token in expiring(now, days=max(REMIND_DAYS)).select_related("owner"):
            ends = token.expires_at
            if ends is None:  # (for the type only: such a token is not among them)
                continue
            lives, left = ends - token.created_at, ends - now
            days = [d for d in REMIND_DAYS if left <= timedelta(days=d) < lives]
            if not days or not token.owner.is_active:
                continue
            due += 1
            outbox.send(
                topic="token",
                to=[token.owner],
                notice=Notice(
                    what=f"Service token {token.name} ({token.prefix}…) expires on {ends:%Y-%m-%d}",
                    change=f"valid → not valid from {moment(ends)} on",
                    by="the lifetime of the token",
                    at=now,
                    severity=Severity.ERROR if days[0] == min(REMIND_DAYS) else Severity.WARNING,
                    action="Ask an administrator to rotate it: its successor has the same rights"
                    " and reaches the same runs.",
                ),
                link=reverse("admin:workorders_servicetoken_change", args=[token.pk]),
                key=f"expires:{token.pk}:{days[0]}",
            )
    return due


def change_policy(*, lifetime_days: int, overlap_hours: int, by: str, reason: str) -> None:
    """Change what holds for new tokens; those there are stay as they are.

    Raises NotAllowedNow without a reason, or where nothing would change.
    """
    if not reason.strip():
        raise NotAllowedNow("A change needs a reason.")
    with transaction.atomic():
        rules = TokenPolicy.objects.select_for_update().get()
        wanted = {"lifetime_days": lifetime_days, "overlap_hours": overlap_hours}
        changes = events.changed({name: getattr(rules, name) for name in wanted}, wanted)
        if not changes:
            raise NotAllowedNow("Nothing would change.")
        TokenPolicy.objects.update(**wanted)
        events.record(
            "TOKEN_POLICY_CHANGE",
            message=f"New tokens live {lifetime_days} days, rotated {overlap_hours} hours more",
            owner=("token_policy", "1"),
            label="token policy",
            actor=by,
            meta={"changes": changes, "reason": reason},
        )


def revoke_line(token_id: int, *, by: str, reason: str) -> int:
    """Revoke all tokens of its line that are not revoked. Returns how many."""
    with transaction.atomic():
        token = ServiceToken.objects.get(pk=token_id)
        return sum(revoke(each.pk, by=by, reason=reason) for each in line_of(token))


def revoke(token_id: int, *, by: str, reason: str) -> bool:
    """Revoke from the next request on. False when it was revoked already. The others of its line
    stay alive: see `revoke_line`."""
    with transaction.atomic():
        revoked = ServiceToken.objects.filter(pk=token_id, revoked_at=None).update(
            revoked_at=timezone.now()
        )
        if not revoked:
            return False
        token = ServiceToken.objects.get(pk=token_id)
        events.record(
            "TOKEN_REVOKED",
            message=f"Service token {token.name} revoked: {reason}",
            owner=("service_token", str(token_id)),
            label=token.name,
            actor=by,
            meta={"prefix": token.prefix, "reason": reason},
        )
    return True


JUDGE = """
SELECT b.token_id, b.owner_id, b.actor, b.token_name, b.scopes, b.work_orders, b.surface, b.feature,
       b.lineage, b.use_due, b.refusal, a.status, a.denial, a.error
FROM tollgate.bearer_v1(%s, %s, %s, %s) b
CROSS JOIN LATERAL tollgate.token_answer_v1(b.refusal) a
"""
NOTE_USE = "SELECT tollgate.note_token_use_v1(%s, %s)"


def judge(
    text: str, *, address: str, scopes: Sequence[str], work_order: str = ""
) -> Principal | TokenRefusal:
    """Whether a token is good for a request: known, live, right network, scope and work order.

    The rule is the database function that admission itself uses, so there is one of it.
    Raises Unavailable when the database does not answer.
    """
    if not plausible(text):
        return UNKNOWN
    key = digest(text)
    row = authority.fetch_row(JUDGE, [key, address or None, list(scopes), work_order])
    token_id, owner_id, actor, name, held, work_orders, surface, feature, *verdict = row
    lineage, use_due, refusal, status, denial, error = verdict
    if refusal:
        return TokenRefusal(status, denial, error)
    if use_due:  # once a minute
        authority.fetch_row(NOTE_USE, [token_id, address or None])
    return Principal(
        *(token_id, owner_id, actor, name, frozenset(held), tuple(work_orders), key, lineage),
        surface=surface,
        feature=feature,
    )
