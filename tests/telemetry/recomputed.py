"""What the sums of the hours must be, computed in Python from the raw rows."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from opslog.models import InferenceEvent, InferenceHour, ToolCall, ToolHour

HIDDEN = {"undo", "retry", "auto_save"}
INFERENCE = (
    *("requests", "failed", "unpriced", "users", "input_tokens", "cached_input_tokens"),
    *("cache_write_tokens", "cache_write_1h_tokens", "differing"),
    *("output_tokens", "reasoning_tokens", "cost_usd", "input_buckets", "output_buckets"),
    *("input_squares", "output_squares", "cost_squares"),
)
TOKENS = [name for name in INFERENCE if name.endswith("_tokens")]
TOOLS = (
    *("calls", "failures", "retries", "retry_requests", "retry_cost_usd"),
    *("retry_hidden_requests", "retry_hidden_cost_usd"),
)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def inference_hours() -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = defaultdict(
        lambda: {
            **dict.fromkeys(INFERENCE, 0),
            "input_buckets": [0] * 24,
            "output_buckets": [0] * 24,
            "users": set(),
        }
    )
    for e in InferenceEvent.objects.all():
        cell = found[hour_of(e.created_at), e.feature, e.model, e.trigger_type]
        cell["requests"] += 1
        cell["failed"] += not e.success
        cell["unpriced"] += e.cost_usd is None
        if e.user_id:
            cell["users"].add(e.user_id)
        sender, computed = e.sender_cost_usd, e.computed_cost_usd
        if sender is not None and computed is not None:
            cell["differing"] += abs(sender - computed) * 20 > max(sender, computed)
        for name in TOKENS:
            cell[name] += getattr(e, name)
        cell["cost_usd"] += e.cost_usd or 0
        cell["input_squares"] += e.input_tokens**2
        cell["output_squares"] += e.output_tokens**2
        cell["cost_squares"] += float(e.cost_usd or 0) ** 2
        cell["input_buckets"][min(23, e.input_tokens.bit_length())] += 1
        cell["output_buckets"][min(23, e.output_tokens.bit_length())] += 1
    return {key: {**cell, "users": len(cell["users"])} for key, cell in found.items()}


def tool_hours() -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(TOOLS, 0))
    events = {e.event_id: e for e in InferenceEvent.objects.all()}
    counted = set()
    for call in ToolCall.objects.all():
        cell = found[hour_of(call.created_at), call.feature, call.tool_name]
        cell["calls"] += 1
        cell["failures"] += not call.success
        cell["retries"] += call.retries > 0
        event = events.get(call.inference_event_id)
        if not call.retries or event is None or (event.event_id, call.tool_name) in counted:
            continue
        assert abs(call.created_at - event.created_at) < timedelta(hours=3)
        counted.add((event.event_id, call.tool_name))
        cell = found[hour_of(event.created_at), event.feature, call.tool_name]
        cost = event.cost_usd or Decimal(0)
        cell["retry_requests"] += 1
        cell["retry_cost_usd"] += cost
        if event.trigger_type in HIDDEN:
            cell["retry_hidden_requests"] += 1
            cell["retry_hidden_cost_usd"] += cost
    return dict(found)


def same(got: Any, wanted: Any) -> bool:
    if isinstance(got, float):
        return abs(got - float(wanted)) <= 1e-9 * abs(float(wanted))
    return bool(got == wanted)


def differences() -> list[str]:
    """Where the tables of sums differ from the raw rows; empty when they agree."""
    wrong = []
    tables: tuple[tuple[Any, tuple[str, ...], tuple[str, ...], Any], ...] = (
        (InferenceHour, ("hour", "feature", "model", "trigger_type"), INFERENCE, inference_hours),
        (ToolHour, ("hour", "feature", "tool_name"), TOOLS, tool_hours),
    )
    for model, key, columns, recompute in tables:
        wanted = recompute()
        got = {
            tuple(getattr(row, name) for name in key): {n: getattr(row, n) for n in columns}
            for row in model.objects.all()
        }
        wrong += [f"{model.__name__} {k} is too many" for k in got.keys() - wanted.keys()]
        wrong += [f"{model.__name__} {k} is missing" for k in wanted.keys() - got.keys()]
        wrong += [
            f"{model.__name__} {k} {n}: {got[k][n]} instead of {wanted[k][n]}"
            for k in got.keys() & wanted.keys()
            for n in columns
            if not same(got[k][n], wanted[k][n])
        ]
    return wrong
