"""The recommended values, or one step tighter where the control says as much already."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

LEAST_USD = Decimal("0.01")
LONGEST_INTERVAL_MS = 3_600_000
LONGEST_SECONDS = 3_600


def tightened(wanted: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`now`: what the control says, by the names of its columns; empty where none is set. Where
    nothing tighter is possible, the values that are there. Dollars are text, as in JSON."""
    if not now:
        return dict(wanted)
    if "undo_rate_limit" in wanted:
        if _undo_an_hour(now) <= _undo_an_hour(wanted):
            lower = max(1, now["undo_rate_limit"] // 2)
            return {"undo_rate_limit": lower, "undo_rate_period": now["undo_rate_period"]}
    elif "auto_save_interval_ms" in wanted:
        if now["auto_save_interval_ms"] >= wanted["auto_save_interval_ms"]:
            longer = min(LONGEST_INTERVAL_MS, now["auto_save_interval_ms"] * 2)
            return {"auto_save_interval_ms": longer}
    elif "max_context_messages" in wanted:
        if now["max_context_messages"] <= wanted["max_context_messages"]:
            return {"max_context_messages": max(1, now["max_context_messages"] // 2)}
    elif "max_tool_retries" in wanted:
        if now["max_tool_retries"] <= wanted["max_tool_retries"]:
            return {"max_tool_retries": max(0, now["max_tool_retries"] - 1)}
    elif "tool_breaker_failures" in wanted:
        failures, seconds = now["tool_breaker_failures"], now["tool_breaker_seconds"]
        if (
            failures <= wanted["tool_breaker_failures"]
            and seconds >= wanted["tool_breaker_seconds"]
        ):
            return {
                "tool_breaker_failures": max(1, failures - 1),
                "tool_breaker_seconds": min(LONGEST_SECONDS, seconds * 2),
            }
    elif "requests_per_period" in wanted and now["requests_per_period"] is not None:
        same = now["period"] == wanted["period"]
        # Another period may let more through: the throttle that is there is halved instead.
        if not same or now["requests_per_period"] <= wanted["requests_per_period"]:
            return {
                "requests_per_period": max(1, now["requests_per_period"] // 2),
                "period": now["period"],
            }
    elif "cost_cap_usd" in wanted and now["cost_cap_usd"] is not None:
        there = Decimal(now["cost_cap_usd"])
        if there <= Decimal(wanted["cost_cap_usd"]):
            return {"cost_cap_usd": f"{max(LEAST_USD, (there / 2).quantize(LEAST_USD)):f}"}
    return dict(wanted)


def _undo_an_hour(values: Mapping[str, Any]) -> int:
    limit: int = values["undo_rate_limit"]
    return limit * (60 if values["undo_rate_period"] == "minute" else 1)


def is_set(values: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the control says all of this already."""
    return bool(now) and all(_plain(now[name]) == _plain(each) for name, each in values.items())


def _plain(value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) and value.replace(".", "").isdigit() else value
