"""Feature controls: what a service reads, and how people change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from budgets.audit import acting
from budgets.exceptions import Refused
from budgets.models import FeatureControl, TimedMitigation
from budgets.writing import HOLD_LIMITS, stated
from opslog.database import query
from opslog.identities import canonical

# What limits spending: raising one of these is asked for, not done.
LIMITS = ("requests_per_period", "cost_cap_usd")
RECENT = """
SELECT r.runs, r.usd, d.calls, d.usd
FROM (SELECT count(*) AS runs, coalesce(sum(coalesce(cost, reserved_usd)), 0) AS usd
      FROM work_order_runs
      WHERE feature = %(feature)s AND started_at <= (SELECT tollgate.now())
          AND started_at >= (SELECT tollgate.now()) - interval '24 hours') r,
    (SELECT count(*) AS calls, coalesce(sum(cost_usd), 0) AS usd FROM direct_spend
     WHERE feature = %(feature)s AND at <= (SELECT tollgate.now())
         AND at >= (SELECT tollgate.now()) - interval '24 hours') d
"""


@dataclass(frozen=True, slots=True)
class Recent:
    """What a feature did in the last 24 hours: runs that started, with their dollars, settled or
    reserved; and calls of direct spend, which are no runs, with theirs."""

    runs: int
    usd: Decimal
    direct_calls: int
    direct_usd: Decimal

    def __str__(self) -> str:
        direct = f" and {self.direct_calls:,} calls of direct spend, ${self.direct_usd:,.2f}"
        return f"{self.runs:,} runs, ${self.usd:,.2f}{direct if self.direct_calls else ''}"


def control_of(feature: str) -> FeatureControl:
    """The control of a feature; the defaults, unsaved, where none is registered."""
    feature = canonical(feature)
    found = FeatureControl.objects.filter(feature=feature).first()
    return found or FeatureControl(feature=feature)


def values_of(feature: str) -> dict[str, Any]:
    """What the control says, by column, as JSON has it; empty where no control is registered."""
    control = FeatureControl.objects.filter(feature=canonical(feature)).first()
    if control is None:
        return {}
    return plain({field.attname: getattr(control, field.attname) for field in control._meta.fields})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON keeps it."""
    return {
        name: f"{value:f}" if isinstance(value, Decimal) else value
        for name, value in values.items()
    }


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The other way: JSON back to what the columns hold."""
    return {
        name: FeatureControl._meta.get_field(name).to_python(value)  # type: ignore[union-attr]
        for name, value in values.items()
    }


def recent(feature: str) -> Recent:
    return Recent(*query.one(RECENT, {"feature": feature}))


def levers(control: FeatureControl) -> dict[str, Any]:
    """The values that the service acts on by itself, by the names that it knows them by."""
    return {
        "maxRounds": control.max_rounds,
        "maxContextMessages": control.max_context_messages,
        "maxToolRetries": control.max_tool_retries,
        "autoSaveIntervalMs": control.auto_save_interval_ms,
        "undoRateLimit": f"{control.undo_rate_limit}/{control.undo_rate_period}",
        "roundTimeoutMs": control.round_timeout_ms,
        "totalTimeoutMs": control.total_timeout_ms,
        "maxToolResultBytes": control.max_tool_result_bytes,
        "toolBreaker": {
            "failures": control.tool_breaker_failures,
            "seconds": control.tool_breaker_seconds,
        },
        "substituteModel": control.substitute_model or None,
        "mockProvider": control.mock_provider,
        "clarification": control.clarification,
    }


def change(
    feature: str,
    values: dict[str, Any],
    *,
    reason: str,
    by: str,
    for_a_time: bool = False,
    only_new: bool = False,
) -> FeatureControl:
    """Set values of a control, which is made where there is none; levers and lower limits only.
    What is set stays set: an automatic mitigation that would put one of these back does not, the
    same value or not. `for_a_time`: this is such a mitigation itself. `only_new`: a control that is
    there already stays as it is.

    Raises Refused for an empty reason, a value out of its bounds, or a limit that would rise; and,
    with `only_new`, for a feature that is registered.
    """
    reason = stated(reason, "A change needs a reason.")
    with transaction.atomic(), acting(by=by, reason=reason):
        if not for_a_time:
            # Before the counters, as where it is put back (docs/locking.md).
            live = TimedMitigation.objects.filter(feature=canonical(feature), ended_at=None)
            live.filter(applied__has_any_keys=list(values)).update(kept_by=by)
        query.run(HOLD_LIMITS)
        control = control_of(feature)
        if only_new and control.pk:
            raise Refused(f"{control.feature} is registered already.")
        for name in LIMITS:
            old, new = getattr(control, name), values.get(name, getattr(control, name))
            if old is not None and (new is None or new > old):
                raise Refused("A higher throttle or cost cap is asked for, not set.")
        period_moves = values.get("period", control.period) != control.period
        if control.pk and control.requests_per_period is not None and period_moves:
            raise Refused("Another period may let more through: it is asked for, not set.")
        for name, value in values.items():
            setattr(control, name, value)
        control.reason, control.changed_by, control.changed_at = reason, by, timezone.now()
        try:
            control.full_clean()
        except ValidationError as error:
            raise Refused(
                "; ".join(f"{name}: {' '.join(why)}" for name, why in error.message_dict.items())
            ) from None
        control.save()
    return control
