"""Weeks of telemetry as letters: one letter is one hour, and says what was wrong in it.

.  ordinary            T  twice the traffic of all      D  chat asks nine times as much
H  undo, many times    h  the same, half of it labelled user_request
C  chat sends six times the input tokens                O  agent answers six times as long
P  chat pays twice     M  chat runs on a dearer model   R  chat's model has a new name
S  a tool of agent fails, and agent tries it again      F  it fails, and nobody tries again
B  a burst: three times the requests of all
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from opslog.triage.data import Cell, Rollups, ToolCell

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Requests an hour, input and output tokens, model.
FEATURES = {
    "agent": (40, 800, 120, "middle"),
    "chat": (60, 600, 200, "middle"),
    "summary": (30, 2000, 80, "small"),
}
PRICES = {"middle": (1.0, 5.0), "middle-2": (1.0, 5.0), "small": (0.2, 0.8), "large": (3.0, 15.0)}
TRIGGERS = {"user_request": 0.6, "tool_result": 0.2, "auto_save": 0.1, "undo": 0.05, "retry": 0.05}
BUCKETS = 24


def day(hour: int) -> float:
    """Busier at noon, and no hour quite like another (a fixed pattern, no chance)."""
    curve = (0.7, 0.6, 0.6, 0.8, 1.0, 1.2, 1.4, 1.4, 1.3, 1.2, 1.0, 0.8)[hour % 24 // 2]
    return curve * (1 + 0.06 * ((hour * 7) % 5 - 2) / 2)


def cell(
    at: int,
    feature: str,
    model: str,
    trigger: str,
    requests: int,
    tokens: tuple[int, int],
    price: float,
) -> Cell:
    """Every request alike, within a fifth: the squares say so."""
    into, out = tokens
    dear_in, dear_out = PRICES[model]
    spread = 1.04
    in_buckets, out_buckets = [0] * BUCKETS, [0] * BUCKETS
    in_buckets[into.bit_length()] = out_buckets[out.bit_length()] = requests
    return Cell(
        hour=MONDAY + at * HOUR,
        feature=feature,
        model=model,
        trigger_type=trigger,
        requests=requests,
        input_tokens=requests * into,
        output_tokens=requests * out,
        cost_usd=price * requests * (into * dear_in + out * dear_out) / 1e6,
        input_squares=spread * requests * into**2,
        output_squares=spread * requests * out**2,
        input_buckets=tuple(in_buckets),
        output_buckets=tuple(out_buckets),
    )


def cells_of(at: int, letter: str) -> Iterator[Cell]:
    for feature, (requests, usual_in, usual_out, usual_model) in FEATURES.items():
        chat, agent = feature == "chat", feature == "agent"
        times = day(at) * {"T": 2, "B": 3}.get(letter, 1) * (9 if chat and letter == "D" else 1)
        into = usual_in * (6 if chat and letter == "C" else 1)
        out = usual_out * (6 if agent and letter == "O" else 1)
        price = 2.0 if chat and letter == "P" else 1.0
        model = {"M": "large", "R": "middle-2"}.get(letter, usual_model) if chat else usual_model
        extra: dict[str, float] = {}
        if chat and letter in "HhU":
            extra = {"undo": 2.0 if letter in "hU" else 4.0}
            if letter == "h":
                extra["user_request"] = 2.0
        if agent and letter == "S":
            extra = {"retry": 4.0}
        for trigger, share in TRIGGERS.items():
            count = round(requests * times * share + requests * day(at) * extra.get(trigger, 0))
            if count:
                yield cell(at, feature, model, trigger, count, (into, out), price)


def tools_of(at: int, letter: str) -> Iterator[ToolCell]:
    """`lookup` is sound until it fails; `book` always fails half of the time, and costs little."""
    calls = round(20 * day(at))
    retries = round(160 * day(at)) if letter == "S" else 0
    failing = 0.7 if letter in "SF" else 0.0
    cost = retries * (800 * 1.0 + 120 * 5.0) / 1e6
    hour = MONDAY + at * HOUR
    yield ToolCell(
        hour, "agent", "lookup", calls + retries, round((calls + retries) * failing), retries,
        retries, cost, retries,
    )  # fmt: skip
    yield ToolCell(hour, "agent", "book", calls, calls // 2, 2, 2, 0.003)


def rollups(letters: str) -> Rollups:
    hours = list(enumerate(letters))
    return Rollups(
        MONDAY + len(letters) * HOUR,
        [cell for at, letter in hours for cell in cells_of(at, letter)],
        [tool for at, letter in hours for tool in tools_of(at, letter)],
    )
