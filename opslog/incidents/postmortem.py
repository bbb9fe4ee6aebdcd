"""An incident as Markdown, to begin a post-mortem with. Text of people and programs is data here:
it can make no heading, no link and no table of its own."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from opslog.incidents.detecting import headline
from opslog.incidents.finding import ZERO, Contribution, Evidence, kept
from opslog.models import Incident, IncidentEntry, Mitigation

ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~!])")
STEP_TITLES = {
    "confirm": "Is it real?",
    "traffic": "More traffic, or dearer requests?",
    "hidden": "Hidden recompute",
    "tokens": "Tokens",
    "attribution": "Who and what",
    "tools": "Tool calls",
}


def markdown(
    incident: Incident, entries: Iterable[IncidentEntry], mitigations: Iterable[Mitigation]
) -> str:
    parts = [
        f"# {plain(str(incident))}: {plain(headline(incident))}",
        _facts(incident),
        "A person named the cause; what follows is what the triage found."
        if incident.cause_by_hand
        else "",
        "\n\n".join(plain(each) for each in incident.sentences),
        "## What the change consists of\n\n"
        + _contributions(kept(incident.contributions, Contribution)),
        "## Timeline (UTC)\n\n"
        + table(
            ("When", "What", "Who"),
            ((minute(each.at), each.text, each.actor) for each in entries),
        ),
        "## Mitigations\n\n"
        + table(
            ("Mitigation", "Estimated saving", "State", "By"),
            (
                (
                    each.summary,
                    f"${each.saving_usd_per_hour:,.2f} an hour"
                    if each.saving_usd_per_hour
                    else "not known",
                    each.state,
                    each.applied_by,
                )
                for each in mitigations
            ),
        ),
        "## Evidence",
        *(_evidence(each) for each in kept(incident.evidence, Evidence)),
        "## Review\n\n" + _review(incident),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """One line, in which nothing means anything to Markdown."""
    return ACTIVE.sub(r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(plain(cell) or '–' for cell in row)} |" for row in rows]
    return "\n".join(lines) if len(lines) > 2 else "None."


def minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "–"


def _facts(incident: Incident) -> str:
    owner = incident.owner.get_username() if incident.owner else "nobody"
    sure = "named by a person" if incident.cause_by_hand else f"{incident.confidence:.0%} sure"
    facts = (
        ("State", incident.state_word),
        ("Severity", incident.severity),
        ("Owner", owner),
        *(("Earlier phase", earlier(each)) for each in incident.earlier),
        ("Started", f"{minute(incident.started_at)} UTC"),
        ("Detected", f"{minute(incident.detected_at)} UTC"),
        ("Stabilized", f"{minute(incident.stabilised_at)} UTC" if incident.stabilised_at else "–"),
        ("Cause", f"{Incident.Cause(incident.cause).label} ({sure})"),
        (
            "Spent above normal",
            f"${incident.excess_usd_of_all_phases:,.2f} until it was last looked at",
        ),
    )
    return "\n".join(f"- {name}: {plain(text)}" for name, text in facts)


def earlier(phase: dict[str, Any]) -> str:
    """One line of a phase that was over before the present one began."""
    began, ended = (datetime.fromisoformat(phase[name]) for name in ("startedAt", "endedAt"))
    return (
        f"{minute(began)} to {minute(ended)} UTC: {phase['severity']}, "
        f"${Decimal(phase['usdPerHour']):,.2f} an hour where "
        f"${Decimal(phase['baselineUsdPerHour']):,.2f} is normal, "
        f"${Decimal(phase['excessUsd']):,.2f} above it"
        + (f", escalated to level {phase['escalation']}" if phase["escalation"] else "")
    )


def _contributions(parts: Sequence[Contribution]) -> str:
    rows = [(each.label, f"${each.usd_per_hour:+,.2f}") for each in parts]
    total = sum((each.usd_per_hour for each in parts), ZERO)
    if rows:
        rows.append(("All of the change", f"${total:+,.2f}"))
    return table(("Part", "$ an hour"), rows)


def _evidence(each: Evidence) -> str:
    figures = table(
        ("Figure", "Before", "In the spike"),
        ((one.label, one.before, one.after) for one in each.figures),
    )
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", each.sql)), 3)
    return (
        f"### {STEP_TITLES[each.step]}\n\n{plain(each.text)}\n\n{figures}\n\n"
        f"{fence}sql\n{each.sql}\n{fence}"
    )


def _review(incident: Incident) -> str:
    if incident.state != Incident.State.REVIEWED:
        return "- Root cause:\n- Mitigation:\n- Alert created:\n- Follow-up on:"
    return "\n".join(
        (
            f"- Root cause: {plain(incident.root_cause)}",
            f"- Mitigation: {plain(incident.mitigation)}",
            f"- Alert created: {'yes' if incident.alert_created else 'no'}",
            f"- Follow-up on: {incident.follow_up_on}",
            f"- Reviewed: {minute(incident.reviewed_at)} UTC by {plain(incident.reviewed_by)}",
        )
    )
