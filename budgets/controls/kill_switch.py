"""The kill switch: a stop for everything, for one surface, or for one identity, until it is lifted.

A switch takes effect on the next admission, and on running work when it extends or renews (403:
stop). `manage.py killswitch` does the same when no web server answers.

**Tokens stop, people lift.** A program that is attacked, or attacks, must not let itself go on. So
a service token may stop what its owner may stop, and lifts only a stop that it set itself, alone.
What a token set, those that it was rotated from or to have set.
Everything else that lets spending resume (a feature switched on, a breaker reset, a work order
resumed, a mitigation ended, a cap raised) has no address for tokens at all;
`tests/guardrails/test_tokens_stop.py` tries every address that takes one.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from budgets import alerts
from budgets.audit import acting
from budgets.exceptions import NotYours, Refused
from budgets.models import KillSwitch
from budgets.writing import HOLD_COUNTERS, stated
from opslog.database import query
from opslog.identities import CONTROL, canonical
from workorders.models import ServiceToken

Scope = KillSwitch.Scope
KINDS = ("user", "agent", "token")
MAX_TARGET = 200

MATCHING = """
SELECT count(*), count(*) FILTER (WHERE r.status = 'running')
FROM work_order_runs r LEFT JOIN service_tokens t ON t.id = r.token_id
WHERE r.started_at > (SELECT tollgate.now()) - interval '24 hours'
    AND r.started_at <= (SELECT tollgate.now())
    AND CASE %(scope)s
    WHEN 'Global' THEN true
    WHEN 'Surface' THEN r.surface = %(target)s
    ELSE %(target)s IN ('user:' || nullif(r.user_id, ''), 'agent:' || r.agent_name)
        OR t.lineage IN (SELECT s.lineage FROM service_tokens s
            WHERE 'token:' || lower(s.prefix) = %(target)s) END
"""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a switch stops, judged by the runs of the last 24 hours."""

    runs: int
    running: int


def normalised(scope: str, target: str | None) -> str:
    """The target as it is stored and compared; a bare identity means a user. Raises Refused for
    one that could match nothing."""
    named = target or ""
    if len(named) > MAX_TARGET or CONTROL.search(named):
        raise Refused(f"A target is up to {MAX_TARGET} printable characters.")
    if scope == Scope.GLOBAL:
        if canonical(named):
            raise Refused("The switch of everything has no target.")
        return ""
    kind, colon, name = named.partition(":") if scope == Scope.IDENTITY else ("", "", named)
    if not colon:
        kind, name = ("user" if scope == Scope.IDENTITY else ""), named
    kind, name = canonical(kind), canonical(name)
    if not name:
        raise Refused("Say which: a surface, or user:…, agent:… or token:…")
    if len(name) > MAX_TARGET:
        raise Refused(f"A target is up to {MAX_TARGET} printable characters.")
    if scope != Scope.IDENTITY:
        return name
    if kind not in KINDS:
        raise Refused(f"An identity is one of {', '.join(KINDS)}: write user:{named} for a user.")
    return f"{kind}:{name}"


def may_switch(
    scope: str,
    *,
    person: AbstractBaseUser | AnonymousUser,
    token_scopes: Collection[str] | None = None,
) -> bool:
    """The one rule: identities are stopped by operations, surfaces and everything by a director (by
    their permissions). With `token_scopes` it is asked for a token that `person` owns, which needs
    the scope, too: `killswitch` or `admin` for identities, `admin` for the others."""
    needed = "stop_identity" if scope == Scope.IDENTITY else "stop_everything"
    if not isinstance(person, User) or not person.is_active:
        return False
    if not person.has_perm(f"budgets.{needed}"):
        return False
    wanted = {"admin", "killswitch"} if scope == Scope.IDENTITY else {"admin"}
    return token_scopes is None or bool(wanted & set(token_scopes))


def effect(scope: str, target: str) -> Effect:
    return Effect(*query.one(MATCHING, {"scope": scope, "target": target}))


def switch(
    scope: str,
    target: str | None,
    *,
    enabled: bool,
    reason: str,
    by: str,
    person: User | None = None,
    token_id: int | None = None,
) -> tuple[KillSwitch, Effect]:
    """Set a switch. When this returns, and its transaction is committed, no later admission passes
    it. `person` or `token_id`: who does it; neither on the command line.

    Raises Refused for a bad target, an empty reason, or a switch that is off already, and NotYours
    where a token would lift what it did not set.
    """
    if scope not in Scope.values:
        raise Refused(f"A scope is one of {', '.join(Scope.values)}.")
    target, reason = normalised(scope, target), stated(reason, "A kill switch needs a reason.")
    with transaction.atomic(), acting(by=by, reason=reason):
        query.run(HOLD_COUNTERS)
        found = KillSwitch.objects.select_for_update().filter(scope=scope, target=target).first()
        if found is None and not enabled:
            raise Refused("There is no such switch to lift.")
        columns: dict[str, Any] = {
            "enabled": enabled,
            "reason": reason,
            "changed_by": by,
            "changed_at": timezone.now(),
            "set_by_person": person if enabled else None,
            "set_by_token_id": token_id if enabled else None,
        }
        if found is not None and found.enabled and token_id is not None:
            line = ServiceToken.objects.get(pk=token_id).lineage
            mine = found.set_by_token is not None and found.set_by_token.lineage == line
            if not enabled and not mine:
                raise NotYours("A token lifts only a stop that it set itself: ask a person.")
            if enabled:
                # Stopped already: whose stop it is, and why, stays. Of two tokens it is neither's.
                shared = found.set_by_token is not None and not mine
                columns = {"set_by_token_id": None} if shared else {}
        if found is None:
            found = KillSwitch.objects.create(scope=scope, target=target, **columns)
        elif columns:
            KillSwitch.objects.filter(pk=found.pk).update(**columns)
            found.refresh_from_db()
        stops = effect(scope, target)
        alerts.tell_soon()
    return found, stops


def in_force() -> "QuerySet[KillSwitch]":
    return KillSwitch.objects.filter(enabled=True)
