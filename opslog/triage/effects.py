"""What each cause cost in a window, per feature: the cost without it is what would have been.

The parts of a feature sum to its cost, exactly:

    cost = volume + hidden + tools + input + output + price

`volume` is the work that was asked for, at what such work used to cost; `hidden` the undo, retry
and auto-save requests beyond their usual number for each asked one; `tools` the requests that tried
a tool again, beyond the usual; `input` and `output` what each request has more tokens than it used
to have; `price` what the same tokens cost more.
"""

from dataclasses import dataclass
from itertools import islice
from math import sqrt

from opslog.triage.data import HIDDEN_TRIGGERS
from opslog.triage.normal import Normal
from opslog.triage.panel import Panel, Running, ToolFlow, window

PARTS = ("price", "input", "output", "hidden", "tool")  # all but the volume


@dataclass(frozen=True, slots=True)
class Effects:
    feature: str
    requests: float
    cost: float
    volume: float
    hidden: float
    input: float
    output: float
    price: float
    tools: dict[str, float]  # by tool
    asked_unit: float  # what an asked request costs, at normal prices and tokens
    hidden_usual: float  # hidden requests for each asked one, before

    @property
    def tool(self) -> float:
        return sum(self.tools.values())

    def part(self, name: str) -> float:
        value: float = getattr(self, name)
        return value


@dataclass(frozen=True, slots=True)
class _Ledger:
    requests: Running
    cost: Running
    valued: Running  # requests at normal prices and tokens
    inputs: Running  # dollars of tokens beyond the normal, at normal prices
    outputs: Running
    price: Running
    asked: Running
    asked_value: Running
    hidden: Running
    hidden_value: Running
    hidden_usual: float
    tools: tuple[tuple[str, ToolFlow, float], ...]  # name, calls, usual retries per first call
    deviation_in: float  # of a request's input tokens, in dollars
    deviation_out: float


class Ledger:
    """Every feature's parts as running sums, against one view of what is normal."""

    def __init__(self, panel: Panel, normal: Normal) -> None:
        self.panel = panel
        self.normal = normal
        self._features = {name: self._of(name) for name in panel.features}

    def _of(self, feature: str) -> _Ledger:
        panel, normal = self.panel, self.normal
        price = normal.prices[feature]
        size = panel.hours + 1
        requests, cost, valued = [0.0] * size, [0.0] * size, [0.0] * size
        inputs, outputs = [0.0] * size, [0.0] * size
        all_in, all_out = [0.0] * size, [0.0] * size
        asked, asked_value = [0.0] * size, [0.0] * size
        hidden, hidden_value = [0.0] * size, [0.0] * size
        hidden_usual = 0.0
        for trigger in panel.triggers:
            flow = panel.flows.get((feature, trigger))
            if flow is None:
                continue
            usual = normal.usual[feature, trigger]
            unit_in, unit_out = price.input * usual.inputs, price.output * usual.outputs
            unit = unit_in + unit_out
            number, total, value = asked, asked_value, unit
            if trigger in HIDDEN_TRIGGERS:
                number, total = hidden, hidden_value
                hidden_usual += usual.ratio
            rows = zip(flow.requests, flow.inputs, flow.outputs, flow.cost, strict=True)
            for at, (count, tokens_in, tokens_out, dollars) in enumerate(islice(rows, size)):
                if not count:
                    continue
                requests[at] += count
                cost[at] += dollars
                valued[at] += count * unit
                inputs[at] += price.input * tokens_in - count * unit_in
                outputs[at] += price.output * tokens_out - count * unit_out
                all_in[at] += tokens_in
                all_out[at] += tokens_out
                number[at] += count
                total[at] += count * value
        more_price = [
            dollars - price.input * tokens_in - price.output * tokens_out
            for dollars, tokens_in, tokens_out in zip(cost, all_in, all_out, strict=True)
        ]
        until, squares = normal.until, panel.squares[feature]
        known = max(1.0, window(requests, 0, until))
        variance_in = window(squares.inputs, 0, until) / known - (all_in[until] / known) ** 2
        variance_out = window(squares.outputs, 0, until) / known - (all_out[until] / known) ** 2
        return _Ledger(
            requests, cost, valued, inputs, outputs, more_price,
            asked, asked_value, hidden, hidden_value, hidden_usual,
            tuple(
                (tool, calls, normal.retry_ratio[name, tool])
                for (name, tool), calls in panel.tools.items()
                if name == feature
            ),
            price.input * sqrt(max(0.0, variance_in)),
            price.output * sqrt(max(0.0, variance_out)),
        )  # fmt: skip

    def volume(self) -> Running:
        """Running sum of all requests at normal prices and tokens."""
        columns = [own.valued for own in self._features.values()]
        return [sum(column) for column in zip(*columns, strict=True)]

    def cost(self, feature: str) -> Running:
        return self._features[feature].cost

    def valued(self, feature: str) -> Running:
        return self._features[feature].valued

    def sampling(self, part: str, feature: str, requests: float) -> float:
        """The standard error, in dollars, of a part over so many requests: chance alone."""
        ledger = self._features[feature]
        if part == "input":
            return ledger.deviation_in * sqrt(requests)
        if part == "output":
            return ledger.deviation_out * sqrt(requests)
        if part == "price" or not requests:
            return 0.0
        total = ledger.requests[-1]
        unit = ledger.valued[-1] / total if total else 0.0
        usual = ledger.hidden_usual / (1 + ledger.hidden_usual) if part == "hidden" else 0.0
        return unit * sqrt(requests * usual + 1)

    def of(self, feature: str, start: int, end: int) -> Effects | None:
        """None where the feature had no request in [start, end)."""
        own = self._features[feature]
        requests = window(own.requests, start, end)
        if not requests:
            return None
        valued = window(own.valued, start, end)
        tried: dict[str, tuple[float, float]] = {}  # requests that tried again; hidden ones of them
        for tool, calls, usual in own.tools:
            again = window(calls.retry_requests, start, end)
            if not again:
                continue
            firsts = window(calls.calls, start, end) - window(calls.retries, start, end)
            more = again - usual * max(0.0, firsts)
            if more > 0:
                share = window(calls.retry_hidden_requests, start, end) / again
                tried[tool] = (more, more * share)
        storm = sum(more for more, _ in tried.values())
        if storm > requests:  # a request that tried two tools again was counted twice
            tried = {t: (m * requests / storm, h * requests / storm) for t, (m, h) in tried.items()}
            storm = requests
        storm_hidden = sum(hidden for _, hidden in tried.values())
        hidden = window(own.hidden, start, end)
        asked = max(0.0, window(own.asked, start, end) - (storm - storm_hidden))
        surplus = min(max(0.0, hidden - storm_hidden - own.hidden_usual * asked), hidden)
        surplus_value = surplus * window(own.hidden_value, start, end) / hidden if surplus else 0.0
        # A request that need not have been made has its tokens and its price for nothing, too.
        inputs, outputs = window(own.inputs, start, end), window(own.outputs, start, end)
        price = window(own.price, start, end)
        rest = inputs + outputs + price
        kept = max(0.0, 1 - (storm + surplus) / requests)
        every = requests if kept else storm + surplus
        return Effects(
            feature=feature,
            requests=requests,
            cost=window(own.cost, start, end),
            volume=valued - storm * valued / requests - surplus_value,
            hidden=surplus_value + rest * surplus / every,
            input=inputs * kept,
            output=outputs * kept,
            price=price * kept,
            tools={
                tool: more * valued / requests + rest * more / every
                for tool, (more, _) in tried.items()
            },
            asked_unit=window(own.asked_value, start, end) / asked if asked else 0.0,
            hidden_usual=own.hidden_usual,
        )

    def parts(self, start: int, end: int) -> list[Effects]:
        found = (self.of(feature, start, end) for feature in self.panel.features)
        return [effects for effects in found if effects is not None]
