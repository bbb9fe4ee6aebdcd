"""What goes over the wire, typed. Money is Decimal dollars with at most nine decimals."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal, InvalidOperation
from typing import Any

Money = Decimal | str | int

NANO_DOLLAR = Decimal("0.000000001")
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)


def usd(value: Money) -> Decimal:
    """The amount in nano-dollars' precision; what is finer is rounded up, never understated.

    Raises TypeError for a float (0.1 is not ten cents) and ValueError for what is no amount:
    negative, NaN, infinite, or not a number.
    """
    if isinstance(value, float | bool) or not isinstance(value, Decimal | str | int):
        raise TypeError(f"money is a Decimal, a string or an int, not {type(value).__name__}")
    try:
        amount = Decimal(value)
        if not amount.is_finite() or amount < 0:
            raise ValueError(f"not an amount of money: {value!r}")
        return amount.quantize(NANO_DOLLAR, rounding=ROUND_UP)
    except InvalidOperation as error:
        raise ValueError(f"not an amount of money: {value!r}") from error


def usd_text(value: Money) -> str:
    """The amount as the service reads it: plain digits, no exponent, no needless zeros."""
    text = format(usd(value), "f").rstrip("0").rstrip(".")
    return text or "0"


def _instant(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _amount(value: Any) -> Decimal:
    """Dollars as the service sends them. Raises ValueError for what is no sum of money."""
    amount = Decimal(_text(value))
    if not 0 <= amount < 10**12:
        raise ValueError("an amount out of bounds")
    return amount


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a text was expected")
    return value


def _run_id(value: Any) -> str:
    """It becomes part of a path."""
    if not _RUN_ID.fullmatch(_text(value)):
        raise ValueError("a run id with unusual characters")
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one run used; the service prices it.

    Cached, cache-write, audio and image input tokens are parts of the input tokens; reasoning,
    audio and image output tokens are parts of the output tokens. `cache_write_tokens` live for five
    minutes, `cache_write_1h_tokens` for an hour. `service_tier` is "standard", "batch", "flex" or
    "priority". `tool_calls` counts the calls of tools that the provider charges for, by tool.
    `provider` finds the price where the model's name does not say who sells it.
    """

    model: str
    input_tokens: int
    output_tokens: int
    provider: str = ""
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    cached_audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    service_tier: str = "standard"
    tool_calls: Mapping[str, int] = field(default_factory=dict)

    @property
    def terms(self) -> tuple[str, str, str]:
        """What has to be the same for two usages to be one: model, provider, service tier."""
        return self.model, self.provider, self.service_tier

    @property
    def has_special_parts(self) -> bool:
        """Whether it has parts whose price is not that of text: audio, images, tools, a tier."""
        return bool(
            self.audio_input_tokens
            or self.audio_output_tokens
            or self.image_input_tokens
            or self.image_output_tokens
            or self.tool_calls
            or self.service_tier != "standard"
        )

    def __add__(self, other: "Usage") -> "Usage":
        """Raises ValueError for usages of different terms."""
        if self.terms != other.terms:
            raise ValueError(f"usages of {self.terms} and {other.terms} have no common price")
        sums: dict[str, Any] = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name.endswith("_tokens")
        }
        tools = Counter(self.tool_calls)
        tools.update(other.tool_calls)
        return replace(self, **sums, tool_calls=dict(tools))

    def body(self) -> dict[str, Any]:
        """As the API takes it; optional parts only where they say something."""
        optional = {
            "provider": self.provider,
            "cacheWriteTokens": self.cache_write_tokens,
            "cacheWrite1hTokens": self.cache_write_1h_tokens,
            "audioInputTokens": self.audio_input_tokens,
            "cachedAudioInputTokens": self.cached_audio_input_tokens,
            "audioOutputTokens": self.audio_output_tokens,
            "imageInputTokens": self.image_input_tokens,
            "imageOutputTokens": self.image_output_tokens,
            "serviceTier": "" if self.service_tier == "standard" else self.service_tier,
            "toolCalls": dict(self.tool_calls),
        }
        return {
            "model": self.model,
            "inputTokens": self.input_tokens,
            "cachedInputTokens": self.cached_input_tokens,
            "outputTokens": self.output_tokens,
            "reasoningTokens": self.reasoning_tokens,
            **{name: value for name, value in optional.items() if value},
        }


@dataclass(frozen=True, slots=True)
class Caps:
    runs_per_day: int
    usd_per_day: Decimal


@dataclass(frozen=True, slots=True)
class UsageToday:
    """`usd_today` counts what is settled and what is still reserved."""

    runs_today: int
    usd_today: Decimal
    open_runs: int


@dataclass(frozen=True, slots=True)
class Admission:
    """The service's answer to an admitted start.

    `replayed`: an earlier request with this idempotency key was admitted. `status`, `reserved_usd`
    and `lease_expires_at` are then what the run is now, `settlement` what is on record of one that
    has ended, and `caps` and `usage` those of its admission.
    """

    run_id: str
    work_order_id: str
    status: str
    reserved_usd: Decimal
    lease_expires_at: datetime
    caps: Caps
    usage: UsageToday
    replayed: bool
    settlement: "Settlement | None" = None

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, replayed: bool) -> "Admission":
        caps, usage, settlement = data["caps"], data["usage"], data.get("settlement")
        return cls(
            run_id=_run_id(data["runId"]),
            work_order_id=_text(data["workOrderId"]),
            status=_text(data["status"]),
            reserved_usd=_amount(data["reservedUsd"]),
            lease_expires_at=_instant(data["leaseExpiresAt"]),
            caps=Caps(int(caps["runsPerDay"]), _amount(str(caps["usdPerDay"]))),
            usage=UsageToday(
                int(usage["runsToday"]), _amount(usage["usdToday"]), int(usage["openRuns"])
            ),
            replayed=replayed,
            settlement=Settlement.parse(settlement) if settlement else None,
        )


@dataclass(frozen=True, slots=True)
class Extension:
    run_id: str
    status: str
    reserved_usd: Decimal
    lease_expires_at: datetime

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Extension":
        return cls(
            run_id=_run_id(data["runId"]),
            status=_text(data["status"]),
            reserved_usd=_amount(data["reservedUsd"]),
            lease_expires_at=_instant(data["leaseExpiresAt"]),
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the service put on record. `overrun_usd` is what the run cost above its reservation."""

    run_id: str
    work_order_id: str
    status: str
    cost_usd: Decimal
    reserved_usd: Decimal
    overrun_usd: Decimal
    started_at: datetime
    finished_at: datetime

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Settlement":
        return cls(
            run_id=_run_id(data["runId"]),
            work_order_id=_text(data["workOrderId"]),
            status=_text(data["status"]),
            cost_usd=_amount(data["costUsd"]),
            reserved_usd=_amount(data["reservedUsd"]),
            overrun_usd=_amount(data["overrunUsd"]),
            started_at=_instant(data["startedAt"]),
            finished_at=_instant(data["finishedAt"]),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a dry run: nothing was reserved and nothing recorded."""

    decision: str
    reason: str | None
    would_reserve_usd: Decimal | None

    @property
    def admitted(self) -> bool:
        return not self.reason

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Decision":
        reserve, reason = data.get("wouldReserveUsd"), data.get("reason")
        return cls(
            decision=_text(data["decision"]),
            reason=_text(reason) if reason else None,
            would_reserve_usd=None if reserve is None else _amount(reserve),
        )
