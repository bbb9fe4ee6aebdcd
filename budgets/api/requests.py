"""What the spending endpoints take."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from opslog.api.errors import BadRequest
from opslog.api.requests import AMOUNT, NAMING, Body, Label, Name, Text
from opslog.pricing.money import MAX_USD, usd
from opslog.pricing.usage import STANDARD, TOKENS, Usage
from opslog.telemetry.drafts import Provider, ServiceTier, Tokens, ToolCalls

LeaseSeconds = Annotated[
    int, Meta(ge=1, le=86_400, description="Seconds until the run is settled at its reservation.")
]
Usd = Annotated[
    Decimal,
    Meta(
        description="US dollars, a number or a string, from 0 to 1000000; "
        "rounded to nine decimals.",
        extra_json_schema={
            "oneOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
                {"type": "string", "pattern": AMOUNT},
            ]
        },
    ),
]


class StartBody(Body, frozen=True):
    work_order_id: Annotated[str, Meta(min_length=1, max_length=100, pattern=NAMING)]
    agent_name: Name
    estimated_cost_usd: Usd | None = None
    model: Text | None = None
    estimated_input_tokens: Tokens | None = None
    estimated_output_tokens: Tokens | None = None
    lease_seconds: LeaseSeconds | None = None
    user_id: Text | None = None
    surface: Label | None = None
    feature: Label | None = None
    dry_run: bool | None = None
    confirm: bool | None = None


class UsageBody(Body, frozen=True):
    """What a model call or several used, as `opslog.pricing.usage.Usage` has it."""

    model: Name
    input_tokens: Tokens
    output_tokens: Tokens
    provider: Provider | None = None
    cached_input_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    cache_write_1h_tokens: Tokens = msgspec.field(default=0, name=TOKENS["cache_write_1h_tokens"])
    reasoning_tokens: Tokens = 0
    audio_input_tokens: Tokens = 0
    cached_audio_input_tokens: Tokens = 0
    audio_output_tokens: Tokens = 0
    image_input_tokens: Tokens = 0
    image_output_tokens: Tokens = 0
    service_tier: ServiceTier | None = None
    tool_calls: ToolCalls | None = None

    def usage(self) -> Usage:
        """Raises BadRequest where parts are more than their whole."""
        tokens = {name: getattr(self, name) for name in TOKENS}
        calls = dict(sorted((self.tool_calls or {}).items()))
        try:
            return Usage(**tokens, service_tier=self.service_tier or STANDARD, tool_calls=calls)
        except ValueError as error:
            raise BadRequest("bad input", {"usage": [str(error)]}) from None


class FinishBody(Body, frozen=True):
    status: Literal["success", "error", "cancelled"]
    cost_usd: Usd | None = None
    usage: UsageBody | None = None


class ExtendBody(Body, frozen=True):
    additional_usd: Usd | None = None
    lease_seconds: LeaseSeconds | None = None


def money(value: Decimal | None, field: str) -> Decimal | None:
    """The amount rounded, within [0, 1,000,000] dollars. Raises BadRequest."""
    if value is None:
        return None
    if not value.is_finite() or not 0 <= value <= MAX_USD:
        raise BadRequest("bad input", {field: [f"Expected US dollars from 0 to {MAX_USD}"]})
    if len(value.as_tuple().digits) > 40:
        raise BadRequest("bad input", {field: ["Expected 40 digits at most"]})
    return usd(value)


def idempotency_key(meta: Mapping[str, Any]) -> str:
    """The key of the header, as the IETF draft has it: a string, with or without its quotes. `meta`
    is a CGI environment. Raises BadRequest."""
    given = meta.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return ""
    key = str(given).strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise BadRequest(
            "bad input", {"Idempotency-Key": ["Expected 1 to 255 printable ASCII characters"]}
        )
    return key
