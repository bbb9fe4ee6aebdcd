"""The sentences that a person would write under "root cause"."""

from collections.abc import Iterator
from decimal import Decimal

from opslog.triage.normal import WEEK
from opslog.triage.tokens import TokenFigures
from opslog.triage.verdict import Evidence, Verdict

WHAT = {
    "traffic_growth": "more requests in all features alike",
    "feature_dominance": "more requests in one feature, {feature}",
    "hidden_recompute": "undo, retry and auto-save requests that nobody asked for, in {feature}",
    "context_bloat": "more input tokens for each request of {feature}",
    "output_growth": "more output tokens for each request of {feature}",
    "price_or_model_switch": "a higher price for the same tokens (price or model) in {feature}",
    "tool_failure_storm": "{feature} trying the failing tool {tool} again and again",
    "none": "nothing that the steps can tell apart",
}


def usd(amount: Decimal | float) -> str:
    value = Decimal(amount)
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.4f}"


def sentences(verdict: Verdict) -> tuple[str, ...]:
    evidence, start = verdict.evidence, verdict.start
    if evidence is None or start is None:
        return verdict.sentences
    hours = verdict.hours
    rise = verdict.cost_usd / verdict.baseline_usd - 1 if verdict.baseline_usd else Decimal(0)
    first = (
        f"Since {start:%Y-%m-%d %H:%M} UTC the cost is {usd(verdict.excess_usd_per_hour)} an hour "
        f"above the baseline ({usd(verdict.cost_usd)} in {hours} hours against "
        f"{usd(verdict.baseline_usd)}, {rise * 100:+.0f} %)."
    )
    span = (
        f"same hour of the last {evidence.baseline.samples} weeks"
        if evidence.baseline.step == WEEK
        else f"same hour of the last {evidence.baseline.samples} days, as there are not two weeks "
        "of history"
    )
    texts = [first, f"The baseline is the {span}."]
    what = WHAT[verdict.cause].format(feature=verdict.feature, tool=verdict.tool)
    share = verdict.ranked[0].share if verdict.ranked else 0.0
    texts.append(f"What explains most of it: {what} ({share * 100:.0f} % of what is explained).")
    texts.extend(_figures(verdict, evidence))
    if verdict.cause in ("traffic_growth", "feature_dominance"):
        if verdict.actor:
            texts.append(
                f"One {verdict.actor.dimension.replace('_', ' ')} ({verdict.actor.name}) makes up "
                f"{verdict.actor.explains * 100:.0f} % of the change: rather a bot or abuse than "
                "growth."
            )
        elif {"user", "user_agent"} & set(evidence.attribution):
            texts.append("No single user or user agent is behind it: it looks organic.")
    texts.extend(
        f"Shortly before, at {change.at:%Y-%m-%d %H:%M} UTC: {change.what} ({change.kind})."
        for change in verdict.changes[:2]
    )
    return tuple(texts)


def _figures(verdict: Verdict, evidence: Evidence) -> Iterator[str]:
    """What the cause looks like in its own figures, before and now."""
    tokens = evidence.tokens
    if verdict.cause == "context_bloat":
        yield _a_request("Input", tokens.input_before, tokens.input)
        growth = tokens.growth
        if growth and growth.last_to_first > growth.baseline_last_to_first:
            yield (
                f"Within a session the last request is {growth.last_to_first:.1f} times as long as "
                f"the first; before it was {growth.baseline_last_to_first:.1f} times."
            )
    elif verdict.cause == "output_growth":
        yield _a_request("Output", tokens.output_before, tokens.output)
    elif verdict.cause == "hidden_recompute":
        shares = evidence.recompute
        yield (
            f"Undo, retry and auto-save went from {shares.share_before * 100:.0f} % to "
            f"{shares.share * 100:.0f} % of the requests."
        )
    elif verdict.cause == "price_or_model_switch":
        yield from _models(evidence)
    elif verdict.cause == "tool_failure_storm":
        for each in evidence.tools:
            if each.tool == verdict.tool and each.feature == verdict.feature:
                yield (
                    f"{each.tool} fails in {each.failure_rate * 100:.0f} % of its calls, before "
                    f"in {each.failure_rate_before * 100:.0f} %; trying again cost "
                    f"{usd(each.retry_usd)}."
                )


def _a_request(kind: str, before: TokenFigures, now: TokenFigures) -> str:
    p95 = f" (95th percentile about {now.p95:,.0f})" if now.p95 is not None else ""
    return f"{kind} tokens a request went from {before.average:,.0f} to {now.average:,.0f}{p95}."


def _models(evidence: Evidence) -> Iterator[str]:
    """The model that came and the one that went, where there are such."""
    models = evidence.attribution.get("model", ())
    came = max(models, key=lambda each: each.usd - each.usd_before, default=None)
    went = min(models, key=lambda each: each.usd - each.usd_before, default=None)
    if came and went and came is not went and went.usd < went.usd_before / 2:
        yield f"{came.name} took the place of {went.name}."
