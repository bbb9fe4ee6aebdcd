"""Cause and evidence in, mitigations out: in order of effect, each with what it may save an hour.

The values are the runbook's (its seventh step), or one step tighter where the feature's control
says as much already: what is proposed is what will be set. Savings are estimates from the hours of
the spike, and say what the text beside them says. Levers that touch the fault come first, then
those that slow the whole feature, then those that stop something; inside of each, the largest
saving first.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from opslog.incidents.finding import CENT, ZERO, Finding, Parts
from opslog.incidents.tightening import is_set, tightened

AUTO_SAVE_MS = 30_000  # was 5,000 in the runbook: five of six saves fall away
AUTO_SAVE_SAVED = Decimal(5) / 6
UNDO_A_MINUTE = 3
CONTEXT_MESSAGES = 10
TOOL_RETRIES = 2  # was 5 in the runbook: three of five retries fall away
TOOL_RETRIES_SAVED = Decimal(3) / 5
BREAKER_FAILURES, BREAKER_SECONDS = 3, 60
THROTTLE_AN_HOUR = 10
CAP_OVER_NORMAL = 2  # a cost cap lets twice the normal hour through
LEAST_CAP = Decimal(1)
DAY_OVER_NORMAL = Decimal("1.2")  # a lowered cap leaves the usual day, and a fifth
SUSPECT_SHARE = Decimal("0.25")  # of the excess: less is not worth stopping somebody for
SUSPECTS_AT_MOST = 3

FAULT, FEATURE, STOP, STOP_ALL = range(4)
PERIODS = {"rolling_minute": "a minute", "rolling_hour": "an hour", "day": "a day"}


@dataclass(frozen=True, slots=True)
class Proposal:
    lever: str
    label: str
    why: str
    saving_usd_per_hour: Decimal
    tier: int
    feature: str = ""
    target: str = ""  # user:…, agent:…, the id of a work order, a tool
    values: Mapping[str, Any] = field(default_factory=dict)
    always: bool = False  # proposed even where nothing tells what it saves

    @property
    def key(self) -> tuple[str, str, str]:
        return self.lever, self.feature, self.target


Lever = Callable[..., Proposal]


NOTHING_SET: Mapping[str, Any] = {}


def propose(
    finding: Finding,
    severity: str,
    *,
    by_hand: bool = False,
    control: Mapping[str, Any] = NOTHING_SET,
) -> list[Proposal]:
    """`by_hand`: a person has named the cause of the finding, where the triage found another.
    `control`: what the control of the feature says now; empty where none is set."""
    if by_hand:
        of_cause: Iterable[Proposal] = of_named_cause(finding, control)
    else:
        of_cause = _of_cause(finding, control)
    found = [*of_cause, *_of_feature(finding, control), *_of_suspects(finding)]
    if severity == "critical":
        found.append(_everything(finding))
    once = {
        each.key: each
        for each in found
        if (each.always or each.saving_usd_per_hour >= CENT)
        and not (each.feature and is_set(each.values, control))
    }
    return _in_order(once.values())


def of_named_cause(finding: Finding, control: Mapping[str, Any] = NOTHING_SET) -> list[Proposal]:
    """What touches the fault that a person has named: all of it, whatever the triage makes of its
    part in the cost."""
    return _in_order(replace(each, always=True) for each in _of_cause(finding, control))


def _in_order(found: Iterable[Proposal]) -> list[Proposal]:
    return sorted(found, key=lambda each: (each.tier, -each.saving_usd_per_hour))


def _of_cause(f: Finding, control: Mapping[str, Any]) -> Iterator[Proposal]:
    """What touches the fault itself. Levers belong to a feature: without one there is none."""
    if not f.feature:
        return
    excess, parts = f.excess_usd_per_hour, f.parts

    def lever(
        name: str,
        label: str,
        why: str,
        saving: Decimal,
        values: Mapping[str, Any],
        target: str = "",
    ) -> Proposal:
        saved = _cents(min(max(saving, ZERO), excess))
        return Proposal(name, label, why, saved, FAULT, f.feature, target, values)

    if f.cause == "hidden_recompute":
        yield _undo(lever, parts.trigger_excess.get("undo", ZERO), control)
        yield _auto_save(lever, parts.trigger_excess.get("auto_save", ZERO), control)
        yield _retries(lever, parts.trigger_excess.get("retry", ZERO), control)
    elif f.cause == "context_bloat":
        values = tightened({"max_context_messages": CONTEXT_MESSAGES}, control)
        most = values["max_context_messages"]
        yield lever(
            "context_messages",
            f"Send the last {most} {'message' if most == 1 else 'messages'} only",
            "A context that is cut cannot grow; this takes away what longer input costs."
            + _already(control, "max_context_messages", CONTEXT_MESSAGES),
            f.explained * _fall(control.get("max_context_messages"), most, CONTEXT_MESSAGES),
            values,
        )  # fmt: skip
    elif f.cause == "tool_failure_storm":
        retried = parts.retry_usd or f.explained
        values = tightened(
            {
                "tool_breaker_failures": BREAKER_FAILURES,
                "tool_breaker_seconds": BREAKER_SECONDS,
            },
            control,
        )
        failures = values["tool_breaker_failures"]
        yield lever(
            "tool_breaker",
            f"Stop calling {f.tool or 'a tool'} for {values['tool_breaker_seconds']:,} s after "
            f"{failures} {'failure' if failures == 1 else 'failures'}",
            "A tool that is down is not asked again; this takes away what trying again costs."
            + _already(control, "tool_breaker_failures", BREAKER_FAILURES),
            retried,
            values,
            f.tool,
        )
        yield _retries(lever, retried, control)
    if parts.previous_model and f.cause in ("price_or_model_switch", "output_growth"):
        yield lever(
            "substitute_model", f"Use {parts.previous_model} again",
            "The model that was used before the change, until the new one is understood.",
            f.explained,
            {"substitute_model": parts.previous_model},
        )  # fmt: skip


def _undo(lever: Lever, usd: Decimal, control: Mapping[str, Any]) -> Proposal:
    values = tightened({"undo_rate_limit": UNDO_A_MINUTE, "undo_rate_period": "minute"}, control)
    limit, period = values["undo_rate_limit"], values["undo_rate_period"]
    why = "Undo calls the model again; this takes away what undo costs above normal."
    why += _already(control, "undo_rate_limit", UNDO_A_MINUTE)
    same = control.get("undo_rate_period", period) == period
    part = _fall(control.get("undo_rate_limit"), limit, UNDO_A_MINUTE) if same else Decimal(1)
    return lever("undo_rate", f"Limit undo to {limit} a {period}", why, usd * part, values)


def _auto_save(lever: Lever, usd: Decimal, control: Mapping[str, Any]) -> Proposal:
    values = tightened({"auto_save_interval_ms": AUTO_SAVE_MS}, control)
    interval, part = values["auto_save_interval_ms"], AUTO_SAVE_SAVED
    why = "From every 5 to every 30 seconds, five of six saves fall away."
    now = control.get("auto_save_interval_ms")
    if now is not None:
        part = 1 - Decimal(now) / interval
        why = f"From every {now:,} ms on, {part:.0%} of the saves fall away."
    return lever("auto_save", f"Auto-save every {interval:,} ms", why, usd * part, values)


def _retries(lever: Lever, usd: Decimal, control: Mapping[str, Any]) -> Proposal:
    values = tightened({"max_tool_retries": TOOL_RETRIES}, control)
    most, part = values["max_tool_retries"], TOOL_RETRIES_SAVED
    why = "From 5 to 2, three of five retries fall away."
    now = control.get("max_tool_retries")
    if now is not None:
        part = 1 - Decimal(most) / now if now else ZERO
        why = f"From {now} to {most}, {part:.0%} of the retries fall away."
    label = f"At most {most} {'retry' if most == 1 else 'retries'}" if most else "No retries"
    return lever("tool_retries", label, why, usd * part, values)


def _fall(now: int | None, new: int, recommended: int) -> Decimal:
    """The part of an excess that a limit takes away: all of it where the recommended one is new,
    and only what is between the two where that was set already and did not help."""
    return 1 - Decimal(new) / now if now is not None and now <= recommended else Decimal(1)


def _already(control: Mapping[str, Any], name: str, recommended: int) -> str:
    now = control.get(name)
    return f" The control says {now} already." if now is not None and now <= recommended else ""


def _of_feature(f: Finding, control: Mapping[str, Any]) -> Iterator[Proposal]:
    """What slows, caps or stops the guilty feature, whatever the fault is."""
    if not f.feature:
        return
    parts, excess = f.parts, f.excess_usd_per_hour
    cost = parts.feature_usd or excess
    itself = f.cause in ("feature_dominance", "traffic_growth")
    values = tightened({"requests_per_period": THROTTLE_AN_HOUR, "period": "rolling_hour"}, control)
    limit, period = values["requests_per_period"], values["period"]
    if period == "rolling_hour":
        stopped, how = _stopped(parts, limit)
    else:
        stopped, how = Decimal(1), "What it stops in an hour is not known: at most all of it."
    yield Proposal(
        "throttle",
        f"Throttle {f.feature} to {limit} {PERIODS[period]} for each user",
        f"Starts over it are refused with 429. {how}",
        _cents(min(excess, cost * stopped)),
        FAULT if itself else FEATURE,
        f.feature,
        values=values,
        always=True,
    )
    if parts.normal_feature_usd:
        cap = max(LEAST_CAP, _cents(parts.normal_feature_usd * CAP_OVER_NORMAL))
        values = tightened({"cost_cap_usd": str(cap)}, control)
        lower = Decimal(values["cost_cap_usd"])
        yield Proposal(
            "cost_cap",
            f"Cap {f.feature} at ${lower:,.2f} in any 60 minutes",
            (
                f"That is {CAP_OVER_NORMAL} times its normal hour."
                if lower == cap
                else f"Half of the cap that it has; its normal hour is "
                f"${parts.normal_feature_usd:,.2f}."
            )
            + " Reaching it switches it off.",
            _cents(max(ZERO, cost - lower)),
            FEATURE,
            f.feature,
            values=values,
        )
    yield Proposal(
        "feature_off",
        f"Switch {f.feature} off",
        "Nobody can use it then; what it normally costs is saved, too.",
        _cents(cost),
        STOP,
        f.feature,
        values={"enabled": False},
    )


def _stopped(parts: Parts, limit: int) -> tuple[Decimal, str]:
    """Which share of the requests a throttle for each user would stop, and the text that says so.

    Known are the different users of all hours together, not those of each hour: each was there in
    one of the hours at least, so there were at least so many of them an hour.
    """
    if not parts.requests or not parts.users:
        return Decimal(1), "How many users ask is not known: this is the most it can save."
    an_hour = Decimal(str(parts.requests))
    hours = max(Decimal(1), Decimal(str(parts.user_hours)))
    active = min(an_hour, Decimal(str(parts.users)) / hours)
    stopped = 1 - min(an_hour, active * limit) / an_hour
    if not stopped:
        return stopped, (
            f"Were the {an_hour:,.0f} requests an hour spread evenly over the users, nobody would "
            "reach it: it saves what a few of them ask beyond it."
        )
    return stopped, (
        f"Estimated with {active:,.1f} users an hour ({parts.users:,.0f} in {hours:,.0f} hours, "
        f"each in one of them) who share {an_hour:,.0f} requests evenly."
    )


def _of_suspects(f: Finding) -> Iterator[Proposal]:
    """Somebody who explains a quarter of the excess or more is stopped, or held to the usual."""
    guilty = sorted(
        (each for each in f.parts.suspects
         if each.excess >= f.excess_usd_per_hour * SUSPECT_SHARE),
        key=lambda each: -each.excess,
    )[:SUSPECTS_AT_MOST]  # fmt: skip
    abused = f.traffic in ("bot", "abuse")
    for each in guilty:
        share = f"{each.excess / f.excess_usd_per_hour:.0%} of the excess"
        saving = _cents(min(each.excess, f.excess_usd_per_hour))
        if each.dimension in ("user", "agent"):
            yield Proposal(
                "kill_switch",
                f"Stop {each.dimension} {each.name}",
                f"{share} comes from there. It is stopped until the switch is lifted.",
                saving,
                FAULT if abused else STOP,
                target=f"{each.dimension}:{each.name}",
            )
        elif each.dimension == "work_order" and each.normal_usd_per_hour > 0:
            day = _cents(each.normal_usd_per_hour * 24 * DAY_OVER_NORMAL)
            yield Proposal(
                "lower_cap",
                f"Lower the cap of {each.name} to ${max(day, CENT):,.2f} a day",
                f"{share} comes from there. The new cap is its usual day and a fifth.",
                saving,
                FEATURE,
                target=each.name,
                values={"usd_per_day": str(max(day, CENT))},
            )


def _everything(f: Finding) -> Proposal:
    return Proposal(
        "kill_switch",
        "Stop everything",
        "The last resort: every start is refused until the switch is lifted.",
        _cents(f.cost_usd_per_hour),
        STOP_ALL,
        target="Global",
    )


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
