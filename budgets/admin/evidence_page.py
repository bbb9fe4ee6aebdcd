"""The evidence as the page of a request shows it: charts drawn, every figure with its rows."""

from collections import Counter as Tally
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode

from budgets.admin.told import charts_of
from budgets.evidence import CapEvidence
from opslog.pages.charts import chart
from opslog.telemetry import change_markers

BANDS = {"safe": "good", "caution": "warn", "escalate": "bad"}
CLASSES = {"low": "good", "medium": "calm", "high": "warn", "critical": "bad"}
AGENTS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Linked:
    """A sentence, and the address of the rows behind it."""

    said: str
    href: str


def shown(evidence: CapEvidence) -> dict[str, Any]:
    """What the template `budgets/evidence.html` needs besides the evidence itself."""
    runs = reverse("admin:workorders_run_changelist")
    refusals = reverse("ops-logs")
    day = evidence.at.date().isoformat()
    of_today = {"wo__id__exact": evidence.work_order_id, "day": day}
    refused: Tally[str] = Tally()
    for each in evidence.days:
        refused.update(each.refusals)
    return {
        "evidence": evidence,
        "band": BANDS[evidence.today.risk_band],
        "cap_class": CLASSES[evidence.run_cap_class],
        "runs_url": f"{runs}?{urlencode(evidence.rows)}",
        "errors_url": f"{runs}?{urlencode({**evidence.rows, 'status__exact': 'error'})}",
        "today_url": f"{runs}?{urlencode(of_today)}",
        "refusals_url": f"{refusals}?"
        + urlencode({"kind": "refusals", "owner_id": evidence.work_order_id}),
        "flags": [
            Linked(flag.said, f"{runs}?{urlencode({**evidence.rows, **flag.rows})}")
            for flag in evidence.flags
        ],
        "agents": [
            (each, f"{runs}?{urlencode({**evidence.rows, 'agent': each.agent})}")
            for each in evidence.agents[:AGENTS_SHOWN]
        ],
        "agents_more": max(0, len(evidence.agents) - AGENTS_SHOWN) + evidence.agents_left_out,
        "charts": charts_of(
            evidence.days, {each.measure: (each.old, each.new) for each in evidence.changes}
        ),
        "refused": refused.most_common(),
        "refused_total": refused.total(),
        "refused_chart": chart(
            [(each.day, Decimal(sum(each.refusals.values()))) for each in evidence.days],
            [],
            unit="runs",
            markers=change_markers.for_days([each.day for each in evidence.days]),
        ),
        "caps_stay": all(each.old == each.new for each in evidence.changes),
    }
