"""What is normal: prices, tokens per request, shares of triggers and volume before the spike.

All of it robust, because an old incident may lie in these hours: averages are taken per day and
the median day counts, volumes are the median of the same hours of the days before.
"""

from dataclasses import dataclass
from statistics import median

from opslog.triage.data import HIDDEN_TRIGGERS
from opslog.triage.panel import Flow, Panel, Running, weighted_median, window

DAY = 24
WEEK = 7 * DAY
# An hour of the day alone is one draw of a bursty process; two on either side steady it.
NEIGHBOURS = 2
# Requests that a trigger type must have before its own averages count as much as its feature's.
PRIOR_REQUESTS = 30


def days_before(until: int) -> list[tuple[int, int]]:
    """Days back from `until`; a rest of half a day at the beginning counts as one."""
    days = [(end - DAY, end) for end in range(until, DAY - 1, -DAY)]
    rest = until % DAY
    return [*days, (0, rest)] if rest >= DAY // 2 or not days else days


def expected(sums: Running, hour: int, until: int, step: int = DAY) -> float:
    """What an hour should bring: the median of the same hours before `until`, a `step` apart.

    Each is taken with its neighbours. 0 where there is none.
    """
    found = []
    at = hour - step
    while at >= 0:
        if at < until:
            low, high = max(0, at - NEIGHBOURS), min(until, at + NEIGHBOURS + 1)
            found.append((sums[high] - sums[low]) / (high - low))
        at -= step
    return median(found) if found else 0.0


def expected_window(sums: Running, start: int, end: int, until: int, step: int = DAY) -> float:
    return sum(expected(sums, hour, until, step) for hour in range(start, end))


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the hours of a window should cost, and what the estimate is based on."""

    usd: float
    step: int  # WEEK: the same hour of the weeks before; DAY: the same hour of the days before
    samples: int  # how many weeks or days
    # To the expectation by days, which is all that features have: 1 without weeks of history.
    season: float


def baseline(panel: Panel, start: int, end: int, until: int) -> Baseline:
    """By the same hour of the week where two weeks lie before; else by the hour of the day."""
    by_days = expected_window(panel.cost, start, end, until)
    weeks = (until + panel.before) // WEEK
    if weeks < 2:
        return Baseline(by_days, DAY, until // DAY, 1.0)
    shift = panel.before
    usd = expected_window(panel.history, start + shift, end + shift, until + shift, WEEK)
    return Baseline(usd, WEEK, weeks, usd / by_days if by_days > 0 else 1.0)


@dataclass(frozen=True, slots=True)
class Usual:
    """One feature × trigger type before the spike: tokens per request, requests per asked one."""

    inputs: float
    outputs: float
    ratio: float  # of a hidden trigger: its requests for each request that was asked for


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per token."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Normal:
    until: int
    prices: dict[str, Price]  # feature
    usual: dict[tuple[str, str], Usual]  # feature, trigger type
    retry_ratio: dict[tuple[str, str], float]  # feature, tool: requests of retries per first call


def model_price(panel: Panel, model: str, start: int, until: int) -> Price | None:
    """Fitted to the cells, so that a price that was charged counts, whatever any list says.

    Where input and output always come in the same proportion the fit cannot tell their prices
    apart: then it leans to an output token costing four times an input token, as lists have it.
    """
    sums = panel.prices[model]
    ii, io, oo = (window(s, start, until) for s in (sums.ii, sums.io, sums.oo))
    ic, oc = window(sums.ic, start, until), window(sums.oc, start, until)
    lean = 1e-7 * (ii + oo)
    ii, io, oo = ii + 16 * lean, io - 4 * lean, oo + lean
    det = ii * oo - io * io
    if det <= 0:
        return None
    return Price(max(0.0, (ic * oo - oc * io) / det), max(0.0, (oc * ii - ic * io) / det))


def _feature_price(panel: Panel, feature: str, until: int) -> Price:
    """The prices of its models, by the tokens they had. A new feature: by what it has now."""
    for start, end in ((0, until), (until, panel.hours)):
        inputs = outputs = priced_in = priced_out = 0.0
        for (name, model), flow in panel.models.items():
            if name != feature or window(flow.requests, start, end) == 0:
                continue
            price = model_price(panel, model, start, end)
            if price is None:
                continue
            tokens_in = window(flow.inputs, start, end)
            tokens_out = window(flow.outputs, start, end)
            inputs, outputs = inputs + tokens_in, outputs + tokens_out
            priced_in += tokens_in * price.input
            priced_out += tokens_out * price.output
        if inputs or outputs:
            return Price(
                priced_in / inputs if inputs else 0.0, priced_out / outputs if outputs else 0.0
            )
    return Price(0.0, 0.0)


def _mean(flows: list[Flow], days: list[tuple[int, int]]) -> tuple[float, float, float]:
    """Requests, and the median day's input and output tokens per request."""
    rows = []
    for start, end in days:
        requests = sum(window(flow.requests, start, end) for flow in flows)
        if requests:
            inputs = sum(window(flow.inputs, start, end) for flow in flows)
            outputs = sum(window(flow.outputs, start, end) for flow in flows)
            rows.append((requests, inputs / requests, outputs / requests))
    return (
        sum(requests for requests, _, _ in rows),
        weighted_median((inputs, requests) for requests, inputs, _ in rows),
        weighted_median((outputs, requests) for requests, _, outputs in rows),
    )


def normal_before(panel: Panel, until: int) -> Normal:
    days = days_before(until)
    prices = {feature: _feature_price(panel, feature, until) for feature in panel.features}
    usual: dict[tuple[str, str], Usual] = {}
    for feature in panel.features:
        own = {t: flow for (f, t), flow in panel.flows.items() if f == feature}
        known, mean_in, mean_out = _mean(list(own.values()), days)
        if not known:  # a new feature: what it has now is normal for it
            _, mean_in, mean_out = _mean(list(own.values()), [(until, panel.hours)])
        asked = [flow for trigger, flow in own.items() if trigger not in HIDDEN_TRIGGERS]
        for trigger, flow in own.items():
            requests, inputs, outputs = _mean([flow], days)
            trust = requests / (requests + PRIOR_REQUESTS)
            per_day = []
            for start, end in days:
                wanted = sum(window(each.requests, start, end) for each in asked)
                if wanted:
                    per_day.append((window(flow.requests, start, end) / wanted, wanted))
            usual[feature, trigger] = Usual(
                trust * inputs + (1 - trust) * mean_in,
                trust * outputs + (1 - trust) * mean_out,
                weighted_median(per_day),
            )
    ratios = {}
    for key, tool in panel.tools.items():
        rows = []
        for start, end in days:
            firsts = window(tool.calls, start, end) - window(tool.retries, start, end)
            if firsts > 0:
                rows.append((window(tool.retry_requests, start, end) / firsts, firsts))
        ratios[key] = weighted_median(rows)
    return Normal(until, prices, usual, ratios)
