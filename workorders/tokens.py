"""Service tokens: made, judged, revoked.

A token is 256 random bits. Only its SHA-256 is kept: with that much randomness a slow hash adds
nothing, and a look-up by digest has no comparison whose timing could tell anything.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from opslog import authority, events
from workorders.models import Scope, ServiceToken

PREFIX = "tg_"
VISIBLE = 8  # characters of the text that stay readable
MAX_LENGTH = 100
FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{1,{MAX_LENGTH - len(PREFIX)}}}")
EVERYTHING = "*"  # in the place of a work order: what all of them share


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a good token speaks for."""

    token_id: int
    owner_id: int
    actor: str
    name: str
    scopes: frozenset[str]
    work_orders: tuple[str, ...]
    digest: bytes
    surface: str = ""  # pinned: it wins over what a request says
    feature: str = ""


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


def create(
    *,
    name: str,
    scopes: Sequence[str],
    owner: User,
    by: str,
    expires_at: datetime | None = None,
    networks: Sequence[str] = (),
    work_orders: Sequence[str] = (),
    surface: str = "",
    feature: str = "",
) -> tuple[ServiceToken, str]:
    """Make a token and give it with its text, which is nowhere kept: show it once.

    Raises ValueError for an unknown scope or none, and django's ValidationError for a bad network.
    """
    unknown = set(scopes) - set(Scope.values)
    if unknown or not scopes:
        raise ValueError(f"scopes are some of {', '.join(Scope.values)}, not {sorted(unknown)}")
    text = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ServiceToken.objects.create(
            name=name,
            prefix=text[:VISIBLE],
            digest=digest(text),
            scopes=sorted(set(scopes)),
            owner=owner,
            expires_at=expires_at,
            networks=list(networks),
            work_orders=list(work_orders),
            surface=surface,
            feature=feature,
        )
        events.record(
            "TOKEN_CREATED",
            message=f"Service token {name} made for {owner.get_username()}",
            owner=("service_token", str(token.pk)),
            label=name,
            actor=by,
            meta={
                "prefix": token.prefix,
                "scopes": token.scopes,
                "networks": token.networks,
                "workOrders": token.work_orders,
                "expiresAt": expires_at and expires_at.isoformat(),
            },
        )
    return token, text


def revoke(token_id: int, *, by: str, reason: str) -> bool:
    """Revoke from the next request on. False when it was revoked already."""
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
       b.refusal, a.status, a.denial, a.error
FROM tollgate_bearer(%s, %s, %s, %s) b
CROSS JOIN LATERAL tollgate_token_answer(b.refusal) a
"""


def judge(
    text: str, *, address: str, scopes: Sequence[str], work_order: str = ""
) -> Bearer | TokenRefusal:
    """Whether a token is good for a request: known, live, right network, scope and work order.

    The rule is the database function that admission itself uses, so there is one of it.
    Raises Unavailable when the database does not answer.
    """
    if not plausible(text):
        return UNKNOWN
    key = digest(text)
    row = authority.fetch_row(JUDGE, [key, address or None, list(scopes), work_order])
    token_id, owner_id, actor, name, held, work_orders, surface, feature, *verdict = row
    refusal, status, denial, error = verdict
    if refusal:
        return TokenRefusal(status, denial, error)
    return Bearer(
        *(token_id, owner_id, actor, name, frozenset(held), tuple(work_orders), key),
        surface=surface,
        feature=feature,
    )
