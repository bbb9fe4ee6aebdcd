"""What the endpoints of the guardrails take."""

from typing import Annotated, Literal

from msgspec import Meta

from budgets.api.requests import UsageBody, Usd
from opslog.api.requests import NAMING, Body, Label, Name, Text
from opslog.telemetry.drafts import Tokens


class CheckBody(Body, frozen=True):
    estimated_cost_usd: Usd | None = None
    model: Text | None = None
    estimated_input_tokens: Tokens | None = None
    estimated_output_tokens: Tokens | None = None
    user_id: Text | None = None
    surface: Label | None = None
    feature: Label | None = None
    agent_name: Text | None = None


class SpendBody(Body, frozen=True):
    cost_usd: Usd | None = None
    usage: UsageBody | None = None
    model: Text | None = None
    user_id: Text | None = None
    surface: Label | None = None
    feature: Label | None = None
    agent_name: Text | None = None


class KillSwitchBody(Body, frozen=True):
    scope: Literal["Global", "Surface", "Identity"]
    enabled: bool
    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=NAMING)]
    target: Text | None = None


class TaskBody(Body, frozen=True):
    work_order_id: Annotated[str, Meta(min_length=1, max_length=100, pattern=NAMING)]
    name: Name
    agent_name: Name | None = None
    model: Text | None = None
    estimated_cost_usd: Usd | None = None
    estimated_input_tokens: Tokens | None = None
    estimated_output_tokens: Tokens | None = None


class PreflightBody(Body, frozen=True):
    tasks: Annotated[list[TaskBody], Meta(min_length=1, max_length=500)]
    confirm: bool | None = None
    dry_run: bool | None = None
