"""Step 3: hidden recompute, the share of undo, retry and auto-save against before."""

from dataclasses import dataclass

from opslog.triage.data import HIDDEN_TRIGGERS
from opslog.triage.panel import Panel, window


@dataclass(frozen=True, slots=True)
class TriggerShare:
    """Of all requests of the window, and of the hours before it."""

    trigger_type: str
    requests: float
    usd: float
    share: float
    share_before: float

    @property
    def hidden(self) -> bool:
        return self.trigger_type in HIDDEN_TRIGGERS


@dataclass(frozen=True, slots=True)
class Recompute:
    share: float  # of undo, retry and auto_save among all requests
    share_before: float
    triggers: tuple[TriggerShare, ...]


def recompute(panel: Panel, start: int, end: int, feature: str | None = None) -> Recompute:
    """`feature` None: of all."""
    rows: dict[str, list[float]] = {}
    for (name, trigger), flow in panel.flows.items():
        if feature in (None, name):
            row = rows.setdefault(trigger, [0.0, 0.0, 0.0])
            row[0] += window(flow.requests, start, end)
            row[1] += window(flow.requests, 0, start)
            row[2] += window(flow.cost, start, end)
    now = sum(row[0] for row in rows.values()) or 1.0
    before = sum(row[1] for row in rows.values()) or 1.0
    triggers = tuple(
        TriggerShare(trigger, row[0], row[2], row[0] / now, row[1] / before)
        for trigger, row in sorted(rows.items(), key=lambda item: -item[1][0])
    )
    return Recompute(
        sum(row.share for row in triggers if row.hidden),
        sum(row.share_before for row in triggers if row.hidden),
        triggers,
    )
