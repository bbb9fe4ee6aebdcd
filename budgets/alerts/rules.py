"""The alert rules: what is measured, when people are notified, how a rule is made and changed.

One occurrence is one alert: from the moment that a measure is above its threshold until it is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from budgets import clock
from budgets.exceptions import Refused
from budgets.models import Alert, AlertRule
from budgets.writing import stated
from opslog.database import query
from opslog.events import record
from opslog.identities import canonical

FIELDS = (
    "name",
    "severity",
    "over",
    "minutes",
    "at_least",
    "budget",
    "feature",
    "group",
    "enabled",
)

# The runs of an interval are those that started in it: that is what there is an index for, and a
# run that fails does so soon. The clock is read once: no index is used for one that goes on.
MEASURED = """
WITH clock AS MATERIALIZED (
    SELECT at, at - make_interval(mins => %(minutes)s) AS since FROM (SELECT tollgate.now() AS at) c
)
SELECT (SELECT at FROM clock),
    (SELECT coalesce(sum(tollgate.times(meta)), 0)::bigint FROM operations_events
        WHERE kind = 'RATE_LIMIT_429'
        AND created_at BETWEEN (SELECT since FROM clock) AND (SELECT at FROM clock)),
    (SELECT count(DISTINCT owner_id) FROM operations_events WHERE kind = 'RATE_LIMIT_429'
        AND created_at BETWEEN (SELECT since FROM clock) AND (SELECT at FROM clock)),
    (SELECT count(*) FROM work_order_runs WHERE status = 'error'
        AND started_at BETWEEN (SELECT since FROM clock) AND (SELECT at FROM clock)),
    (SELECT count(*) FROM work_order_runs WHERE status <> 'running'
        AND started_at BETWEEN (SELECT since FROM clock) AND (SELECT at FROM clock))
"""
# Committed dollars: what has not ended counts with its reservation.
SPENT = """
SELECT coalesce((SELECT sum(coalesce(cost, reserved_usd)) FROM work_order_runs
        WHERE started_at BETWEEN %(since)s AND clock_timestamp()
            AND (%(feature)s = '' OR feature = %(feature)s)), 0)
    + coalesce((SELECT sum(cost_usd) FROM direct_spend
        WHERE at BETWEEN %(since)s AND clock_timestamp()
            AND (%(feature)s = '' OR feature = %(feature)s)), 0)
"""
USED = """
SELECT c.subject, c.used, c.amount FROM tollgate.use_of(%s, tollgate.now()) c
WHERE c.amount > 0 ORDER BY c.used / c.amount DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What happened in the interval of a rule."""

    refusals: int
    work_orders: int  # different ones that were refused
    failed: int
    ended: int
    spent_usd: Decimal = Decimal(0)  # where the rule is about spend
    used: Decimal = Decimal(0)  # of the limit of the rule, by whoever used most of it
    amount: Decimal = Decimal(0)
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says of its measure; `value` in its own unit."""

    value: Decimal
    fires: bool
    sentence: str


def figure(over: Decimal) -> str:
    """A threshold without zeros that say nothing: "10", "2.5". Pure."""
    return f"{over:.0f}" if over == over.to_integral_value() else f"{over.normalize():f}"


def judge(check: str, over: Decimal, minutes: int, at_least: int, found: Measured) -> Finding:
    """Pure. Exactly at the threshold is not above it."""
    span, threshold = f"in {minutes} minutes", figure(over)
    if check == AlertRule.Check.SPEND:
        return Finding(
            found.spent_usd,
            found.spent_usd > over,
            f"${found.spent_usd:,.2f} spent {span} (over ${over:,.2f})",
        )
    if check == AlertRule.Check.LIMIT_USE:
        share = 100 * found.used / found.amount if found.amount else Decimal(0)
        whose = f" by {found.subject}" if found.subject else ""
        return Finding(
            share,
            share > over,
            f"{share:.1f} % of the limit used{whose} (over {threshold} %)",
        )
    if check == AlertRule.Check.ERROR_RATE:
        share = Decimal(100 * found.failed) / found.ended if found.ended else Decimal(0)
        return Finding(
            share,
            share > over and found.ended >= at_least,
            f"{found.failed} of {found.ended} ended runs failed {span} "
            f"({share:.1f} %, over {threshold} %)",
        )
    value = Decimal(found.refusals)
    across = f" across {found.work_orders} work orders" if check == AlertRule.Check.SPREAD else ""
    enough = check != AlertRule.Check.SPREAD or found.work_orders >= at_least
    return Finding(
        value,
        value > over and enough,
        f"{found.refusals} refusals by a limit{across} {span} (over {threshold})",
    )


def evaluate() -> int:
    """Judge every rule that is on, report new occurrences and close finished ones. Returns
    how many are new. Safe to run twice, and by two workers: each rule's row is locked meanwhile."""
    raised = 0
    for pk in AlertRule.objects.values_list("pk", flat=True):
        with transaction.atomic():
            rule = AlertRule.objects.select_for_update().get(pk=pk)
            now, found = measured(rule)
            finding = judge(rule.check_name, rule.over, rule.minutes, rule.at_least, found)
            fires = rule.enabled and finding.fires
            if fires == (rule.firing_since is not None):
                continue
            rule.firing_since = now if fires else None
            rule.save(update_fields=["firing_since"])
            if fires:
                _tell(rule, finding, since=now)
                raised += 1
    return raised


def measured(rule: AlertRule) -> tuple[datetime, Measured]:
    """The database's clock, and what happened in the last minutes of the rule."""
    if rule.check_name == AlertRule.Check.LIMIT_USE:
        found = query.one(USED, [rule.budget_id]) or ("", Decimal(0), Decimal(0))
        subject, used, amount = found
        return clock.now(), Measured(0, 0, 0, 0, used=used, amount=amount, subject=subject)
    if rule.check_name == AlertRule.Check.SPEND:
        now = clock.now()
        since = now - timedelta(minutes=rule.minutes)
        (spent,) = query.one(SPENT, {"since": since, "feature": rule.feature})
        return now, Measured(0, 0, 0, 0, spent_usd=Decimal(spent))
    now, *figures = query.one(MEASURED, {"minutes": rule.minutes})
    return now, Measured(*figures)


def _tell(rule: AlertRule, finding: Finding, *, since: datetime) -> None:
    name = f"{rule.name}: " if rule.name else ""
    of = f" ({rule.budget})" if rule.budget else f" by {rule.feature}" if rule.feature else ""
    message = f"{rule.severity.capitalize()} priority: {name}{finding.sentence}{of}"
    meta = {
        "check": rule.check_name,
        "minutes": rule.minutes,
        "severity": rule.severity,
        "value": f"{finding.value:.2f}",
        "over": str(rule.over),
    }
    Alert.objects.create(
        kind=Alert.Kind.RULE,
        key=f"rule:{rule.pk}:{since.timestamp():.6f}",
        message=message,
        owner_type="alert_rule",
        owner_id=str(rule.pk),
        meta=meta,
    )
    record(
        "ALERT_RULE",
        message=message,
        actor="tollgate",
        owner=("alert_rule", str(rule.pk)),
        label=str(rule),
        meta=meta,
    )


@transaction.atomic
def add(wanted: Mapping[str, Any], *, reason: str, by: str) -> AlertRule:
    """Make a rule, with its event. `wanted` has the columns of a rule.

    Raises Refused for what cannot be: a share of no limit, a rate of nothing.
    """
    reason = stated(reason, "A rule needs a reason.")
    rule = AlertRule(**wanted)
    rule.name, rule.feature = rule.name.strip(), canonical(rule.feature)
    if not rule.name:
        raise Refused("Name the rule, so that its alerts can be distinguished from others.")
    if (rule.check_name == AlertRule.Check.LIMIT_USE) != (rule.budget is not None):
        raise Refused("Choose a limit for a rule about its use, and for no other rule.")
    if rule.feature and rule.check_name != AlertRule.Check.SPEND:
        raise Refused("Only a rule about spend is for one feature.")
    rule.save()
    record(
        "ALERT_RULE_ADDED",
        message=f"Alert rule added: {rule}",
        actor=by,
        owner=("alert_rule", str(rule.pk)),
        label=str(rule),
        meta={
            "rule": {name: str(getattr(rule, name) or "") for name in (*FIELDS, "check_name")},
            "incidentId": rule.incident,
            "reason": reason,
        },
    )
    return rule


@transaction.atomic
def change(pk: int, wanted: Mapping[str, Any], *, reason: str, by: str) -> AlertRule:
    """Change name, threshold, interval, least number, severity, recipients or the switch; with its
    event.

    Raises Refused without a reason, or where nothing would change.
    """
    reason = stated(reason, "A change needs a reason.")
    rule = AlertRule.objects.select_for_update().get(pk=pk)
    changes = {
        name: {"old": str(getattr(rule, name)), "new": str(value)}
        for name, value in wanted.items()
        if getattr(rule, name) != value
    }
    if not changes:
        raise Refused("Nothing would change.")
    for name in changes:
        setattr(rule, name, wanted[name])
    rule.save(update_fields=list(changes))
    record(
        "ALERT_RULE_CHANGED",
        message=f"Alert rule changed: {rule}",
        actor=by,
        owner=("alert_rule", str(rule.pk)),
        label=str(rule),
        meta={"changes": changes, "reason": reason},
    )
    return rule
