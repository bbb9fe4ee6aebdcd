"""What a message about alerts says: plain figures of the alerts become words, without a query."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from budgets.models import Alert
from opslog.models import Severity
from opslog.outbox.notices import Notice

MOST_LINES = 20
Kind = Alert.Kind
SEVERITIES = {
    "low": Severity.INFO,
    "medium": Severity.WARNING,
    "warning": Severity.WARNING,
    "high": Severity.ERROR,
    "blocked": Severity.ERROR,
    "critical": Severity.CRITICAL,
}
ACTIONS = {
    Kind.BREAKER_OPENED: "Find out what spent or failed. One run probes when its time is over; to "
    "close it earlier, reset it with a reason.",
    Kind.BREAKER_HALF_OPEN: "Nothing: the probe decides.",
    Kind.BREAKER_CLOSED: "Nothing: starts are admitted again.",
    Kind.FEATURE_SWITCHED_OFF: "Find out what the feature spent; then turn it on again, or raise "
    "its cost cap.",
    Kind.PREFLIGHT: "Look at the batch before it starts.",
    Kind.RULE: "Look at what the rule measures, and stop or slow what causes it.",
    Kind.DIMENSION_TIER: "Look at what drives the month, and decide on savings or another budget.",
    Kind.COST_SURPRISE: "Check the cost: correct it if it is wrong; revoke the token if it is not "
    "to be trusted.",
    Kind.COST_REFUSED: "Have a token of scope admin report it if it is true; revoke the token if "
    "it is not to be trusted.",
    Kind.COST_UNPRICED: "Enter a price for the model, or correct its name in the program.",
    Kind.REFUSALS: "If the work is wanted, request a higher limit; if not, stop the program that "
    "asks.",
    Kind.MONTH_PROJECTION: "Slow what drives the month, or decide on another budget before it is "
    "spent.",
}
WARNED = "Look at what spends; slow it, or request a higher limit in time."
BLOCKED = "Wait until the time above, or request a higher limit. Until then, starts are refused."


def notice_of(same: Sequence[Alert]) -> Notice:
    """One message for alerts that are about the same; the last says it, the others are listed."""
    last, others = same[-1], same[:-1]
    details = [reason] if (reason := str(last.meta.get("reason") or "")) else []
    if others:
        lines = [f"- {each.message}" for each in reversed(others)]
        details += ["Also:", *lines[:MOST_LINES]]
        if len(lines) > MOST_LINES:
            details.append(f"- and {len(lines) - MOST_LINES} more")
    worst = max((severity_of(each) for each in same), key=lambda each: each.rank)
    return Notice(
        what=last.message,
        change=change_of(same),
        by=str(last.meta.get("by") or _actor(last.actor)),
        at=last.created_at,
        severity=worst if last.kind != Kind.KILL_SWITCH else severity_of(last),
        action=action_of(last),
        details="\n".join(details),
    )


def severity_of(alert: Alert) -> Severity:
    if alert.kind == Kind.KILL_SWITCH:
        return Severity.CRITICAL if alert.meta.get("enabled") else Severity.WARNING
    if alert.kind == Kind.BREAKER_CLOSED:
        return Severity.INFO
    return SEVERITIES.get(alert.severity, Severity.WARNING)


def action_of(alert: Alert) -> str:
    match alert.kind:
        case Kind.BUDGET_THRESHOLD:
            return BLOCKED if alert.meta.get("severity") == "blocked" else WARNED
        case Kind.KILL_SWITCH if alert.meta.get("enabled"):
            return "Find out why it was turned on; a person turns it off again, with a reason."
        case Kind.KILL_SWITCH:
            return "Nothing: starts are admitted again."
    return ACTIONS.get(Kind(alert.kind), "Look at the page.")


def change_of(same: Sequence[Alert]) -> str:
    """From what to what, of the last one; of a switch through all that it was meanwhile."""
    last = same[-1]
    meta = last.meta
    match last.kind:
        case Kind.BUDGET_THRESHOLD:
            used, amount = (_amount(meta, name) for name in ("used", "amount"))
            reached = f"{used} of {amount}" if amount else used
            return f"below {_threshold(meta)} → {reached}"
        case Kind.KILL_SWITCH:
            states = ["on" if each.meta.get("enabled") else "off" for each in same]
            before = "off" if states[0] == "on" else "on"
            return " → ".join([before, *states])
        case Kind.BREAKER_OPENED:
            return "closed or half-open → open"
        case Kind.BREAKER_HALF_OPEN:
            return "open → half-open"
        case Kind.BREAKER_CLOSED:
            return "open or half-open → closed"
        case Kind.FEATURE_SWITCHED_OFF:
            return "on → off"
        case Kind.PREFLIGHT:
            return "not checked → did not pass"
        case Kind.RULE:
            return f"at most {meta.get('over', '')} → {meta.get('value', '')}"
        case Kind.DIMENSION_TIER:
            return (
                f"below {meta.get('tier')} % → ${_number(meta.get('used')):,.2f} of "
                f"${_number(meta.get('amount')):,.2f}"
            )
        case Kind.MONTH_PROJECTION:
            return (
                f"within ${_number(meta.get('amount')):,.2f} → "
                f"${_number(meta.get('projected')):,.2f} projected"
            )
        case Kind.COST_SURPRISE | Kind.COST_REFUSED:
            cost = f"${_number(meta.get('costUsd')):,.2f}"
            reserved = meta.get("reservedUsd")
            return f"${_number(reserved):,.2f} reserved → {cost}" if reserved else f"none → {cost}"
        case Kind.COST_UNPRICED:
            settled = _number(meta.get("settledUsd"))
            return f"unknown cost of {meta.get('model')} → ${settled:,.2f} settled"
        case Kind.REFUSALS:
            return f"admitted → {meta.get('times', '')} refused"
    return "normal → as reported"


def _threshold(meta: Mapping[str, Any]) -> str:
    name = str(meta.get("thresholdName") or "the threshold")
    return f"the warning at {_amount(meta, 'threshold')}" if name == "warning" else name


def _amount(meta: Mapping[str, Any], name: str) -> str:
    if meta.get(name) is None:
        return ""
    value, measure = _number(meta[name]), str(meta.get("measure") or "")
    if measure == "usd":
        return f"${value:,.2f}"
    unit = "runs" if meta.get("scope") == "work_order" and measure == "requests" else measure
    return f"{value:,.0f} {unit}"


def _number(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)


def _actor(actor: str) -> str:
    return "Tollgate" if actor == "tollgate" else actor
