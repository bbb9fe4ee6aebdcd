"""Shared limits changed by hand: lowered, added, alerted on. A raise is requested and approved."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address

from django.db import transaction

from budgets.audit import acting
from budgets.exceptions import Refused
from budgets.models import EACH, Budget
from budgets.writing import HOLD_LIMITS, save, stated
from opslog.database import query
from opslog.identities import canonical
from opslog.price_book import prices

HIGHEST = Decimal("1000000000")
NO_REASON = "A change needs a reason."
# What each subject uses of each limit now, from the counters. A name that has a limit of its own is
# held to that one, not to the one for each.
IN_USE = """
(SELECT tollgate.now() AS now OFFSET 0) c CROSS JOIN budgets b CROSS JOIN LATERAL (
    SELECT s.subject,
        sum(CASE b.measure WHEN 'usd' THEN s.settled_usd WHEN 'tokens' THEN s.settled_tokens
            WHEN 'runs' THEN 0 ELSE s.runs END) AS settled,
        sum(CASE b.measure WHEN 'usd' THEN s.reserved_usd WHEN 'tokens' THEN s.reserved_tokens
            WHEN 'runs' THEN s.open_runs ELSE 0 END) AS held
    FROM counters s
    WHERE s.scope = b.scope AND s."window" = b."window"
        AND s.starts_at BETWEEN tollgate.counts_from(b."window", c.now) AND c.now
        AND (b.subject IN ('', s.subject)
            OR (b.scope = 'model_tier' AND b.subject = split_part(s.subject, chr(31), 2))
            OR (b.subject = '*' AND NOT EXISTS (
                SELECT FROM budgets own WHERE own.scope = b.scope AND own."window" = b."window"
                    AND own.measure = b.measure AND own.subject = s.subject)))
    GROUP BY s.subject) k
"""
MOST = f"""
SELECT DISTINCT ON (b.id) b.id, k.subject, k.settled, k.held FROM {IN_USE} WHERE b.id = ANY (%s)
ORDER BY b.id, k.settled + k.held DESC, k.subject
"""  # noqa: S608  (constants put together)


@dataclass(frozen=True, slots=True)
class Use:
    """What is used of a limit now; for one of each subject, by the subject that uses most."""

    subject: str
    settled: Decimal
    held: Decimal

    @property
    def used(self) -> Decimal:
        return self.settled + self.held


def use_of(budget_ids: Sequence[int]) -> dict[int, Use]:
    """By id, in one query."""
    found = {
        budget_id: Use(subject.replace("\x1f", " / "), settled, held)
        for budget_id, subject, settled, held in query.rows(MOST, [list(budget_ids)])
    }
    unused = Use("", Decimal(0), Decimal(0))
    return {budget_id: found.get(budget_id, unused) for budget_id in budget_ids}


def lower(budget_id: int, amount: Decimal, *, reason: str, by: str) -> Budget:
    """Lower a limit, or set one that is off; it holds from the next admission on. Raises Refused
    for anything that would let more through."""
    reason = stated(reason, NO_REASON)
    with transaction.atomic(), acting(by=by, reason=reason):
        query.run(HOLD_LIMITS)
        budget = Budget.objects.get(pk=budget_id)
        if budget.scope == Budget.Scope.WORK_ORDER:
            raise Refused("The caps of a work order stand on the work order.")
        if not 0 < amount <= HIGHEST:
            raise Refused(f"An amount lies above 0 and up to {HIGHEST:,}.")
        if budget.measure != Budget.Measure.USD and amount != amount.to_integral_value():
            raise Refused("Tokens, requests and runs are whole numbers.")
        if budget.amount is not None and amount >= budget.amount:
            raise Refused("This would not lower it. A raise is requested, and approved by others.")
        Budget.objects.filter(pk=budget.pk).update(amount=amount)
        budget.refresh_from_db()
    return budget


def set_alerts(
    budget_id: int, *, warning: Decimal | None, percents: Sequence[int], reason: str, by: str
) -> Budget:
    """The alert thresholds. Raises Refused."""
    if any(not 0 < percent <= 100 for percent in percents):
        raise Refused("Shares lie from 1 to 100 per cent.")
    reason = stated(reason, NO_REASON)
    with transaction.atomic(), acting(by=by, reason=reason):
        query.run(HOLD_LIMITS)
        budget = Budget.objects.get(pk=budget_id)
        if warning is not None and budget.scope == Budget.Scope.WORK_ORDER:
            raise Refused("Work orders have caps of their own: say shares of them in per cent.")
        if warning is not None and not 0 < warning <= HIGHEST:
            raise Refused(f"A warning lies above 0 and up to {HIGHEST:,}.")
        Budget.objects.filter(pk=budget.pk).update(
            warning_amount=warning, alert_percents=list(percents)
        )
        budget.refresh_from_db()
    return budget


def add(
    *,
    scope: str,
    subject: str,
    window: str,
    measure: str,
    amount: Decimal | None,
    reason: str,
    by: str,
) -> Budget:
    """A limit where there was none. Raises Refused for one that could not be enforced, and for one
    of a name that would be looser than the one for each."""
    reason = stated(reason, NO_REASON)
    with transaction.atomic(), acting(by=by, reason=reason):
        query.run(HOLD_LIMITS)
        subject = subject_of(scope, subject)
        budget = Budget(scope=scope, subject=subject, window=window, measure=measure, amount=amount)
        each = Budget.objects.filter(scope=scope, subject="*", window=window, measure=measure)
        general = each.exclude(amount=None).first()
        most = general.amount if general else None
        if most is not None and subject != "*" and (amount is None or amount > most):
            raise Refused(
                f"Each {scope} is held to {most}: more for one of them is a raise. "
                "Add it with as much, and request the raise on its page."
            )
        save(budget, problem="This limit cannot be kept: ")
    return budget


def subject_of(scope: str, subject: str) -> str:
    """What a limit is held over, in the spelling that admission compares. Raises Refused."""
    if subject in ("", EACH):
        return subject
    if scope == Budget.Scope.MODEL:
        return prices.current_book().name_of(subject)
    if scope == Budget.Scope.ADDRESS:
        try:
            return str(ip_address(subject.strip()))
        except ValueError:
            raise Refused(f"{subject} is not an IP address.") from None
    return canonical(subject)


def follow_price_book() -> int:
    """Limits on models that the price book names otherwise: since it changed, or because SQL wrote
    them, which knows no book. Returns how many were renamed. One whose name is taken stays."""
    book, renamed = prices.current_book(), 0
    named = Budget.objects.filter(scope=Budget.Scope.MODEL).exclude(subject=EACH)
    for budget in named:
        name = book.name_of(budget.subject)
        if (
            name == budget.subject
            or named.filter(subject=name, window=budget.window, measure=budget.measure).exists()
        ):
            continue
        reason = f"the price book knows {budget.subject} as {name}"
        with transaction.atomic(), acting(by="tollgate", reason=reason):
            query.run(HOLD_LIMITS)
            renamed += Budget.objects.filter(pk=budget.pk, subject=budget.subject).update(
                subject=name
            )
    return renamed
