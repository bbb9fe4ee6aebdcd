"""What the triage is given: hourly rollups of all of it, raw events only of the hours it suspects.

A caller fills these with a handful of bounded queries, in two steps:

1. `Rollups`, from the hourly tables: every complete hour of the last `CELL_HOURS`, in detail, and
   the cost per hour of the last `HISTORY_HOURS`, as a baseline. No raw event is read for it.
2. Where `triage(rollups)` confirms a spike (most runs end before that), its verdict's `comparison`
   says which hours to compare, for `Detail`: who caused the cost in those hours, from their raw
   events alone. `triage(rollups, detail=…)` then says it with names.

Hours. `until` is a whole UTC hour: everything before it is complete, nothing of it or after it is
given. The running hour is left out, because half an hour of cost looks like a fall, and an hour
that is late looks like one too: `until = date_trunc('hour', now)`. A cell carries the beginning of
its hour. Hours and combinations without requests are left out; a missing hour counts as zero cost,
unless it lies before the first hour that is there, which counts as no history.

Money is float in here, dollars: these are estimates of causes, not accounts. What a verdict says in
dollars is rounded once, to `Decimal`, when it is given out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

CELL_HOURS = 8 * 24  # a week to compare with, and a day of incident
HISTORY_HOURS = 5 * 7 * 24  # four of the same hour of the week, and the one that is judged
BUCKETS = 24  # of tokens per request: bucket i holds n with bit_length(n) == i, the last one more

# Trigger types whose work nobody asked for (the runbook's third step).
HIDDEN_TRIGGERS = frozenset({"undo", "retry", "auto_save"})


@dataclass(frozen=True, slots=True)
class Cell:
    """Inference events of one hour × feature × model × trigger type, summed."""

    hour: datetime
    feature: str
    model: str
    trigger_type: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    # Sums of tokens² over the requests: how sure an average is.
    input_squares: float = 0.0
    output_squares: float = 0.0
    # Requests per bucket of tokens: percentiles without raw events. Empty: unknown.
    input_buckets: tuple[int, ...] = ()
    output_buckets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCell:
    """Tool calls of one hour × feature × tool.

    `retries` are calls with an attempt above one. `retry_requests` and `retry_cost_usd` are of the
    inference events that made such a call (`tool_calls.event_id`), each event counted once per tool
    and put into *its* hour and feature: what trying again cost. A tool that retries by itself,
    without asking the model, has retries and no cost.
    """

    hour: datetime
    feature: str
    tool: str
    calls: int
    failures: int
    retries: int
    retry_requests: int
    retry_cost_usd: float
    # Of these events, those with a hidden trigger type: so that they are not counted twice.
    retry_hidden_requests: int = 0


@dataclass(frozen=True, slots=True)
class HourTotal:
    """All inference events of one hour: the long history, for the same hour of the week."""

    hour: datetime
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Rollups:
    """Step 1. `cells` and `tools` of [until − CELL_HOURS, until), in any order.

    `totals` of [until − HISTORY_HOURS, until); where empty, they are summed from `cells`.
    """

    until: datetime
    cells: Sequence[Cell]
    tools: Sequence[ToolCell] = ()
    totals: Sequence[HourTotal] = ()

    def without(self, features: Collection[str]) -> "Rollups":
        """As if these features were not there; the long history goes with them, because it does
        not tell them apart."""
        if not features:
            return self
        return Rollups(
            self.until,
            [cell for cell in self.cells if cell.feature not in features],
            [call for call in self.tools if call.feature not in features],
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which hours to compare: [start, until) is the spike, [baseline_start, baseline_until) normal.

    `feature` narrows it where one feature is suspected.
    """

    start: datetime
    until: datetime
    baseline_start: datetime
    baseline_until: datetime
    feature: str | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """One user, agent, work order, session or user agent, in the spike and in the baseline.

    The caller gives the ten with the most cost in the spike, for each dimension; names that are
    empty are left out.
    """

    dimension: str  # user, agent, work_order, session, user_agent
    name: str
    requests: int
    cost_usd: float
    baseline_cost_usd: float


@dataclass(frozen=True, slots=True)
class SessionGrowth:
    """Context growth: sessions with at least three requests, and the mean over them of the ratio of
    the last request's input tokens to the first's; in the spike and in the baseline."""

    last_to_first: float
    baseline_last_to_first: float


@dataclass(frozen=True, slots=True)
class Detail:
    """Step 2: raw events of the comparison's hours (and feature), aggregated. `users`: how many
    different ones there are in the spike."""

    comparison: Comparison
    actors: Sequence[Actor] = field(default=())
    users: int = 0
    growth: SessionGrowth | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change marker: something somebody did, that may precede a spike."""

    at: datetime
    kind: str  # deploy, prompt_template, model_version, ux_change, campaign
    what: str
    feature: str = ""
