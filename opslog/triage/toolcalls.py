"""Step 6: tool calls, their failures and retries, and what trying again cost."""

from dataclasses import dataclass

from opslog.triage.panel import Panel, window


@dataclass(frozen=True, slots=True)
class ToolFigures:
    feature: str
    tool: str
    calls: float
    failures: float
    retries: float
    retry_usd: float
    failure_rate_before: float
    retries_per_call_before: float

    @property
    def failure_rate(self) -> float:
        return self.failures / self.calls if self.calls else 0.0

    @property
    def retries_per_call(self) -> float:
        return self.retries / self.calls if self.calls else 0.0


def tool_calls(panel: Panel, start: int, end: int) -> tuple[ToolFigures, ...]:
    """Of every feature × tool called in the window; the costliest retries first."""
    found = []
    for (feature, tool), flow in panel.tools.items():
        calls = window(flow.calls, start, end)
        if not calls:
            continue
        before = window(flow.calls, 0, start)
        found.append(
            ToolFigures(
                feature,
                tool,
                calls,
                window(flow.failures, start, end),
                window(flow.retries, start, end),
                window(flow.retry_cost, start, end),
                window(flow.failures, 0, start) / before if before else 0.0,
                window(flow.retries, 0, start) / before if before else 0.0,
            )
        )
    return tuple(sorted(found, key=lambda row: (-row.retry_usd, row.feature, row.tool)))
