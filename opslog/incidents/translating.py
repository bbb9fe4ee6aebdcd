"""From the triage's verdict to a finding: per hour, named, with what the proposals are made from.

The triage knows nothing of incidents; this knows both.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

from opslog.incidents import queries
from opslog.incidents.finding import (
    ZERO,
    Contribution,
    Evidence,
    Figure,
    Finding,
    Parts,
    Suspect,
)
from opslog.triage.attribution import Element
from opslog.triage.data import Detail
from opslog.triage.normal import DAY, WEEK
from opslog.triage.panel import HOUR
from opslog.triage.tokens import Tokens
from opslog.triage.verdict import Evidence as TriageEvidence
from opslog.triage.verdict import Verdict

MICRO = Decimal("0.000001")
TRAFFIC = ("traffic_growth", "feature_dominance")
LABELS = {
    "traffic_growth": "more requests",
    "feature_dominance": "more requests of one feature",
    "hidden_recompute": "hidden recompute",
    "context_bloat": "longer input",
    "output_growth": "longer output",
    "price_or_model_switch": "price or model",
    "tool_failure_storm": "trying tools again",
    "other": "all the rest",
}
FACTORS = {
    "requests": "number of requests",
    "mix": "mix of features",
    "input_tokens": "input tokens a request",
    "output_tokens": "output tokens a request",
    "price": "price of a token",
}


def finding_of(verdict: Verdict, detail: Detail | None = None) -> Finding | None:
    """None where there is nothing to record: no spike, or one whose cost is back."""
    if not verdict.confirmed or verdict.start is None or not verdict.raised:
        return None
    hours = verdict.hours
    cost, baseline = each_hour(verdict.cost_usd, hours), each_hour(verdict.baseline_usd, hours)
    if cost <= baseline:
        return None
    return Finding(
        started_at=verdict.start,
        until=verdict.until,
        cause=verdict.cause,
        confidence=min(1.0, max(0.0, verdict.confidence)),
        feature=verdict.feature or "",
        tool=verdict.tool or "",
        traffic=_traffic(verdict),
        baseline_usd_per_hour=baseline,
        cost_usd_per_hour=cost,
        excess_usd_total=verdict.change_usd,
        contributions=_contributions(verdict, cost - baseline),
        sentences=verdict.sentences,
        ranked=verdict.ranked,
        evidence=list(_evidence(verdict, verdict.evidence)) if verdict.evidence else (),
        changes=verdict.changes,
        parts=_parts(verdict, verdict.evidence, detail) if verdict.evidence else Parts(),
    )


def each_hour(usd: Decimal | float, hours: int) -> Decimal:
    return (Decimal(str(usd)) / hours).quantize(MICRO, ROUND_HALF_UP)


def _traffic(verdict: Verdict) -> str:
    if verdict.cause not in TRAFFIC:
        return ""
    if verdict.actor is not None:
        return "bot" if verdict.actor.dimension == "user_agent" else "abuse"
    return "campaign" if any(each.kind == "campaign" for each in verdict.changes) else ""


def _contributions(verdict: Verdict, excess: Decimal) -> list[Contribution]:
    """By cause and feature; what rounding leaves goes to the rest, so that they sum to the change.

    The cause that was found keeps its own name; the same cause elsewhere has the feature behind it.
    """
    found, total = [], ZERO
    for each in verdict.contributions:
        if each.cause == "other":
            continue
        own = each.feature in ("", verdict.feature) or verdict.feature is None
        name = each.cause if own else f"{each.cause}:{each.feature}"
        where = f" in {each.feature}" if each.feature else ""
        usd = each_hour(each.usd, verdict.hours)
        if usd:
            found.append(Contribution(name, f"{LABELS[each.cause]}{where}", usd))
            total += usd
    if excess != total:
        found.append(Contribution("other", LABELS["other"], excess - total))
    return found


def _parts(verdict: Verdict, evidence: TriageEvidence, detail: Detail | None) -> Parts:
    hours = verdict.hours
    feature = next(
        (e for e in evidence.attribution.get("feature", ()) if e.name == verdict.feature), None
    )
    models = evidence.attribution.get("model", ())
    fallen = max(models, key=lambda model: model.usd_before - model.usd, default=None)
    replaced = fallen is not None and fallen.usd < fallen.usd_before / 2
    return Parts(
        trigger_excess={
            each.trigger_type: each_hour(each.usd * (1 - each.share_before / each.share), hours)
            for each in evidence.recompute.triggers
            if each.hidden and each.share > each.share_before
        },
        retry_usd=sum(
            (
                each_hour(
                    each.retry_usd * (1 - each.retries_per_call_before / each.retries_per_call),
                    hours,
                )
                for each in evidence.tools
                if each.tool == verdict.tool
                and verdict.feature in (None, each.feature)
                and each.retries_per_call > each.retries_per_call_before
            ),
            ZERO,
        ),
        feature_usd=each_hour(feature.usd, hours) if feature else ZERO,
        normal_feature_usd=each_hour(feature.usd_before, hours) if feature else ZERO,
        requests=feature.requests / hours if feature else 0,
        users=detail.users if detail else 0,
        user_hours=(detail.comparison.until - detail.comparison.start) / HOUR if detail else 1,
        previous_model=fallen.name if fallen is not None and replaced else "",
        suspects=[
            Suspect(
                each.dimension,
                each.name,
                each_hour(each.usd, _counted(each, hours)),
                each_hour(each.usd_before, _counted(each, hours)),
            )
            for dimension in ("user", "agent", "work_order")
            for each in evidence.attribution.get(dimension, ())
        ],
    )


def _evidence(verdict: Verdict, found: TriageEvidence) -> Iterator[Evidence]:
    """Each step with the query that gives its figures: the triage looked at these hours."""
    start, hours = verdict.start or verdict.until, verdict.hours
    weekly = found.baseline.step == WEEK
    sql = queries.of(start, verdict.until, verdict.feature, weekly=weekly)
    for step, text, figures in (
        (
            "confirm",
            f"{hours} hours since it began, each against what it should have cost.",
            [
                Figure(f"{at:%m-%d %H:%M}", f"${usual:,.2f}", f"${usd:,.2f}")
                for at, usd, usual in found.hours[-6:]
            ],
        ),
        (
            "traffic",
            "The change, split exactly into the number of requests and what one costs.",
            [
                Figure(FACTORS[name], "–", f"{'+' if usd >= 0 else '−'}${abs(usd):,.2f}")
                for name, usd in found.decomposition.parts.items()
            ],
        ),
        (
            "hidden",
            "The share of requests that nobody asked for: undo, retry and auto-save.",
            [
                Figure(name, f"{before:.1%}", f"{share:.1%}")
                for name, before, share in (
                    ("all three", found.recompute.share_before, found.recompute.share),
                    *(
                        (each.trigger_type, each.share_before, each.share)
                        for each in found.recompute.triggers
                        if each.hidden
                    ),
                )
            ],
        ),
        (
            "tokens",
            "Tokens a request; the 95th percentile is an estimate, from powers of two.",
            list(_tokens(found.tokens)),
        ),
        (
            "attribution",
            "Who and what explains the change, by dollars an hour.",
            [
                Figure(
                    f"{each.dimension.replace('_', ' ')} {each.name or '(none)'}",
                    f"${each_hour(each.usd_before, _counted(each, hours)):,.2f}",
                    f"${each_hour(each.usd, _counted(each, hours)):,.2f} "
                    f"({each.explains:.0%} of the change)",
                )
                for rows in found.attribution.values()
                for each in rows[:2]
            ],
        ),
        (
            "tools",
            "Tools that fail more, and what trying again cost."
            if found.tools
            else "No tool calls.",
            [
                Figure(
                    f"{each.tool} in {each.feature or 'no feature'}",
                    f"{each.failure_rate_before:.0%} fail",
                    f"{each.failure_rate:.0%} fail, retries ${each.retry_usd:,.2f}",
                )
                for each in found.tools[:5]
            ],
        ),
    ):
        yield Evidence(step, text, figures, sql[step])


def _counted(element: Element, hours: int) -> int:
    """Over how many hours its dollars are: who it was is asked of the spike's first day at most."""
    return hours if element.dimension in ("feature", "model") else min(hours, DAY)


def _tokens(tokens: Tokens) -> Iterator[Figure]:
    for name, before, after in (
        ("input", tokens.input_before, tokens.input),
        ("output", tokens.output_before, tokens.output),
    ):
        yield Figure(f"average {name}", f"{before.average:,.0f}", f"{after.average:,.0f}")
        if before.p95 is not None and after.p95 is not None:
            yield Figure(f"p95 {name}", f"{before.p95:,.0f}", f"{after.p95:,.0f}")
    if tokens.growth is not None:
        yield Figure(
            "last to first request of a session",
            f"{tokens.growth.baseline_last_to_first:.1f} times",
            f"{tokens.growth.last_to_first:.1f} times",
        )
