"""The two functions that judge: `triage` and `follow`.

`triage(rollups)` answers whether there is a spike now, and why. Once an incident is open its caller
goes on with `follow(verdict, rollups)`: the start stays, the cause follows the evidence of the
hours since then, until the cost is back; what is over is not judged again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from opslog.triage.attribution import Element, attribution
from opslog.triage.causes import NONE, Hypothesis, hypotheses
from opslog.triage.confirm import began, rises
from opslog.triage.data import Change, Detail, Rollups
from opslog.triage.decompose import Decomposition, State, decompose
from opslog.triage.effects import Ledger
from opslog.triage.normal import DAY, Baseline, baseline, expected_window, normal_before
from opslog.triage.panel import HOUR, Panel, panel_of, window
from opslog.triage.recompute import recompute
from opslog.triage.sentences import sentences
from opslog.triage.thresholds import (
    CHANGE_HOURS,
    FLOOR_USD_PER_HOUR,
    LARGER_SHARE,
    LEAST_HISTORY,
    ONE_ACTOR,
    RISE,
    STABLE_HOURS,
)
from opslog.triage.tokens import tokens
from opslog.triage.toolcalls import tool_calls
from opslog.triage.verdict import OTHER, Contribution, Evidence, Ranked, Verdict

MICRO = Decimal("0.000001")


def triage(
    rollups: Rollups,
    *,
    detail: Detail | None = None,
    changes: Sequence[Change] = (),
    floor_usd_per_hour: float = FLOOR_USD_PER_HOUR,
) -> Verdict:
    """Is there a spike at `rollups.until`, and why? Without an open incident.

    A caller that wants to know who it was runs it twice: the second time with the `detail` that
    the first verdict's `comparison` asks for.
    """
    panel = panel_of(rollups)
    if panel is None or panel.hours <= LEAST_HISTORY:
        text = f"There are fewer than {LEAST_HISTORY} hours of history: nothing to compare with."
        return Verdict(rollups.until, confirmed=False, sentences=(text,))
    found = rises(panel, floor_usd_per_hour=floor_usd_per_hour)
    if not found:
        return Verdict(
            rollups.until, confirmed=False, sentences=("The cost is as usual for these hours.",)
        )
    rise = max(found, key=lambda each: (each.gain, -each.look))
    before = max(LEAST_HISTORY, panel.hours - max(DAY, rise.look))
    start = began(Ledger(panel, normal_before(panel, min(before, panel.hours - rise.look))), rise)
    return _judge(rollups, panel, start, detail, changes)


def follow(
    verdict: Verdict,
    rollups: Rollups,
    *,
    detail: Detail | None = None,
    changes: Sequence[Change] = (),
) -> Verdict:
    """The open incident's verdict, later. `verdict` is a confirmed one; its start is kept.

    While the cost is up, everything since the start is judged again, so an early guess gives way
    to better evidence. Once it is back within 20 % for two hours the verdict stays as it is, with
    `raised` False; if it rises again it is judged again.
    """
    if verdict.start is None:
        raise ValueError("Only a confirmed verdict can be followed.")
    panel = panel_of(rollups)
    if panel is None or verdict.start <= panel.first:
        return verdict  # too long ago: nothing left to compare with
    start = panel.hour_of(verdict.start)
    if not raised(panel, start):
        return replace(verdict, raised=False)
    return _judge(rollups, panel, start, detail, changes)


def raised(panel: Panel, start: int) -> bool:
    """Whether one of the last hours is over 20 % above what was usual before `start`."""
    now = panel.hours
    return any(
        window(panel.cost, hour, hour + 1) > RISE * baseline(panel, hour, hour + 1, start).usd
        for hour in range(max(start, now - STABLE_HOURS), now)
    )


def money(usd: float) -> Decimal:
    return Decimal(repr(usd)).quantize(MICRO, ROUND_HALF_UP)


def _judge(
    rollups: Rollups,
    panel: Panel,
    start: int,
    detail: Detail | None,
    changes: Sequence[Change],
) -> Verdict:
    now = panel.hours
    ledger = Ledger(panel, normal_before(panel, start))
    base = baseline(panel, start, now, start)
    cost = money(window(panel.cost, start, now))
    usual = money(base.usd)
    ranked = hypotheses(ledger, start, now, season=base.season)
    first = ranked[0]
    explained = sum(hypothesis.usd for hypothesis in ranked)
    evidence = Evidence(
        tuple(
            (
                panel.at(hour),
                window(panel.cost, hour, hour + 1),
                baseline(panel, hour, hour + 1, start).usd,
            )
            for hour in range(start, now)
        ),
        base,
        _decomposition(ledger, start, now, base),
        recompute(panel, start, now, first.feature),
        tokens(
            rollups.cells,
            panel.at(start),
            panel.at(now),
            first.feature,
            detail.growth if detail else None,
        ),
        attribution(panel, start, now, detail),
        tool_calls(panel, start, now),
    )
    verdict = Verdict(
        until=rollups.until,
        confirmed=True,
        cause=first.cause if first.usd > 0 else NONE,
        feature=first.feature,
        tool=first.tool,
        confidence=_confidence(ranked),
        start=panel.at(start),
        cost_usd=cost,
        baseline_usd=usual,
        contributions=_contributions(ranked, cost - usual),
        ranked=tuple(
            Ranked(h.cause, h.usd / explained, h.feature or "", h.tool or "")
            for h in ranked
            if money(h.usd) > 0
        ),
        actor=_one_actor(evidence.attribution),
        changes=_preceding(changes, panel.at(start), first.feature),
        raised=True,
        evidence=evidence,
    )
    return replace(verdict, sentences=sentences(verdict))


def _confidence(ranked: Sequence[Hypothesis]) -> float:
    """1 where no other cause explains anything, 0.5 where the second explains as much."""
    first, second = ranked[0].usd, ranked[1].usd
    return first / (first + second) if first > 0 else 0.0


def _contributions(ranked: Sequence[Hypothesis], change: Decimal) -> tuple[Contribution, ...]:
    found = []
    for hypothesis in ranked:
        for feature, usd in sorted(hypothesis.features.items(), key=lambda item: -item[1]):
            if money(usd):
                found.append(Contribution(hypothesis.cause, feature, money(usd)))
    rest = change - sum((each.usd for each in found), Decimal(0))
    return (*found, Contribution(OTHER, "", rest))


def _decomposition(ledger: Ledger, start: int, now: int, base: Baseline) -> Decomposition:
    """From what the hours should have been to what they were; the change is the verdict's."""
    panel, normal = ledger.panel, ledger.normal
    before: dict[str, State] = {}
    after: dict[str, State] = {}
    for feature in panel.features:
        price = normal.prices[feature]
        flows = [flow for (name, _), flow in panel.flows.items() if name == feature]
        series = [
            [sum(values) for values in zip(*columns, strict=True)]
            for columns in (
                [flow.requests for flow in flows],
                [flow.inputs for flow in flows],
                [flow.outputs for flow in flows],
                [flow.cost for flow in flows],
            )
        ]
        was = [expected_window(sums, start, now, start) for sums in series]
        is_now = [window(sums, start, now) for sums in series]
        for states, figures in ((before, was), (after, is_now)):
            requests, inputs, outputs, cost = figures
            listed = price.input * inputs + price.output * outputs
            if requests <= 0:
                continue
            index = cost / listed if listed > 0 else 0.0
            states[feature] = State(
                requests, inputs, outputs, price.input * inputs, price.output * outputs, index
            )
    total = sum(state.cost for state in before.values())
    factor = base.usd / total if total > 0 else 0.0
    before = {
        name: State(
            state.requests * factor,
            state.input_tokens * factor,
            state.output_tokens * factor,
            state.input_usd * factor,
            state.output_usd * factor,
            state.price_index,
        )
        for name, state in before.items()
        if factor > 0
    }
    return decompose(before, after)


def _one_actor(found: Mapping[str, Sequence[Element]]) -> Element | None:
    """A user agent or user that explains more than half of the change, and has far more of the cost
    than it had: rather a bot or abuse. Who always was most of it and grew with the rest is not."""
    for dimension in ("user_agent", "user"):
        for element in found.get(dimension, ()):
            news = element.share > LARGER_SHARE * element.share_before
            if element.explains > ONE_ACTOR and news:
                return element
    return None


def _preceding(
    changes: Sequence[Change], start: datetime, feature: str | None
) -> tuple[Change, ...]:
    near = [c for c in changes if start - CHANGE_HOURS * HOUR <= c.at < start + HOUR]
    return tuple(sorted(near, key=lambda c: (c.feature not in (feature or "", ""), start - c.at)))
