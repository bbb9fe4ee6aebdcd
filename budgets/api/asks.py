"""What a program asks of the endpoints that spend: read from the body and the headers, and checked.

One reading for both that answer: the views, and the door of the web server, which answers without
Django (docs/adr/0017). Each kind knows the parameters of its routine, how it is decided alone, and
what it counts for. Bad input raises BadRequest; the answer to that is always the view's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from budgets import admission
from budgets.admission import Caller, Decision, Fields, direct_spend, metrics
from budgets.admission.batches import Operation
from budgets.api.requests import (
    CheckBody,
    ExtendBody,
    FinishBody,
    SpendBody,
    StartBody,
    TaskBody,
    idempotency_key,
    money,
)
from opslog.api.client_address import address_of
from opslog.api.errors import BadRequest
from workorders import tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read."""

    operation: ClassVar[Operation]
    caller: Caller

    @classmethod
    def read(cls, data: Any, meta: Mapping[str, Any], run_id: Any = None) -> "Asked":
        """`data` is the body, `meta` a CGI environment. Raises BadRequest."""
        raise NotImplementedError

    @property
    def needs_prices(self) -> bool:
        """Whether its fields are computed with the price book."""
        return False

    def fields(self) -> Fields:
        """What its routine is called with, but for what is set for all."""
        raise NotImplementedError

    def decide(self) -> Decision:
        """By a call of its own. Raises Unavailable."""
        raise NotImplementedError

    def count(self, decision: Decision) -> None:
        """For the metrics."""


def caller_of(meta: Mapping[str, Any]) -> Caller:
    """`meta` is a CGI environment."""
    return Caller(digest=tokens.digest(tokens.text_of(meta)), address=address_of(meta))


def require_model(body: StartBody | CheckBody | TaskBody, at: str = "") -> None:
    """Raises BadRequest for tokens of no model."""
    tokens = (body.estimated_input_tokens, body.estimated_output_tokens)
    if not body.model and tokens != (None, None):
        raise BadRequest("bad input", {f"{at}model": ["Tokens are priced by their model"]})


def who_of(body: CheckBody | SpendBody) -> direct_spend.Attribution:
    return direct_spend.Attribution(
        body.user_id or "", body.surface or "", body.feature or "", body.agent_name or ""
    )


@dataclass(frozen=True, slots=True)
class Start(Asked):
    operation: ClassVar[Operation] = "start"
    ask: admission.StartAsk
    key: str

    @classmethod
    def read(cls, data: Any, meta: Mapping[str, Any], run_id: Any = None) -> "Start":
        body = StartBody.read(data)
        estimate = money(body.estimated_cost_usd, "estimatedCostUsd")
        ask = admission.StartAsk(**{**body.given(), "estimated_cost_usd": estimate})
        require_model(body)
        return cls(caller_of(meta), ask, idempotency_key(meta))

    @property
    def needs_prices(self) -> bool:
        return self.ask.model != ""

    def fields(self) -> Fields:
        return admission.start_fields(self.ask, caller=self.caller, idempotency_key=self.key)

    def decide(self) -> Decision:
        return admission.start(self.ask, caller=self.caller, idempotency_key=self.key)

    def count(self, decision: Decision) -> None:
        if decision.status == 201:
            metrics.ADMISSIONS.labels("true" if decision.replayed else "false").inc()
            metrics.RESERVED.inc(float(decision.reserved_usd))


@dataclass(frozen=True, slots=True)
class Finish(Asked):
    operation: ClassVar[Operation] = "finish"
    run_id: UUID
    report: admission.FinishTold

    @classmethod
    def read(cls, data: Any, meta: Mapping[str, Any], run_id: Any = None) -> "Finish":
        body = FinishBody.read(data)
        if (body.cost_usd is None) == (body.usage is None):
            raise BadRequest("bad input", {"costUsd": ["Give either costUsd or usage"]})
        report = admission.FinishTold(
            status=body.status,
            cost_usd=money(body.cost_usd, "costUsd"),
            model=body.usage.model if body.usage else "",
            provider=(body.usage.provider or "") if body.usage else "",
            usage=body.usage.usage() if body.usage else None,
        )
        return cls(caller_of(meta), run_id, report)

    @property
    def needs_prices(self) -> bool:
        return self.report.usage is not None

    def fields(self) -> Fields:
        return admission.finish_fields(self.run_id, self.report, caller=self.caller)

    def decide(self) -> Decision:
        return admission.finish(self.run_id, self.report, caller=self.caller)

    def count(self, decision: Decision) -> None:
        if decision.status == 200 and not decision.replayed:
            metrics.FINISHES.labels(self.report.status).inc()
            metrics.SETTLED.inc(float(decision.settled_usd))


@dataclass(frozen=True, slots=True)
class Extend(Asked):
    operation: ClassVar[Operation] = "extend"
    run_id: UUID
    additional_usd: Decimal
    lease_seconds: int | None
    key: str

    @classmethod
    def read(cls, data: Any, meta: Mapping[str, Any], run_id: Any = None) -> "Extend":
        body = ExtendBody.read(data)
        additional: Any = money(body.additional_usd, "additionalUsd") or 0
        return cls(caller_of(meta), run_id, additional, body.lease_seconds, idempotency_key(meta))

    def fields(self) -> Fields:
        return admission.extend_fields(
            self.run_id,
            additional_usd=self.additional_usd,
            lease_seconds=self.lease_seconds,
            caller=self.caller,
            idempotency_key=self.key,
        )

    def decide(self) -> Decision:
        return admission.extend(
            self.run_id,
            additional_usd=self.additional_usd,
            lease_seconds=self.lease_seconds,
            caller=self.caller,
            idempotency_key=self.key,
        )

    def count(self, decision: Decision) -> None:
        if decision.status == 200 and not decision.replayed:
            metrics.RESERVED.inc(float(decision.reserved_usd))


@dataclass(frozen=True, slots=True)
class Spend(Asked):
    operation: ClassVar[Operation] = "spend"
    report: direct_spend.SpendTold
    key: str

    @classmethod
    def read(cls, data: Any, meta: Mapping[str, Any], run_id: Any = None) -> "Spend":
        body = SpendBody.read(data)
        if (body.cost_usd is None) == (body.usage is None):
            raise BadRequest("bad input", {"costUsd": ["Give either costUsd or usage"]})
        usage, model, provider = None, body.model or "", ""
        if body.usage is not None:
            if model and model != body.usage.model:
                raise BadRequest("bad input", {"model": ["Another model than that of usage"]})
            model, provider = body.usage.model, body.usage.provider or ""
            usage = body.usage.usage()
        caller, key = caller_of(meta), idempotency_key(meta)
        cost = money(body.cost_usd, "costUsd")
        return cls(caller, direct_spend.SpendTold(who_of(body), cost, model, provider, usage), key)

    @property
    def needs_prices(self) -> bool:
        return self.report.model != ""

    def fields(self) -> Fields:
        return direct_spend.spend_fields(self.report, caller=self.caller, idempotency_key=self.key)

    def decide(self) -> Decision:
        report = self.report
        return direct_spend.spend(
            caller=self.caller,
            who=report.who,
            cost_usd=report.cost_usd,
            model=report.model,
            provider=report.provider,
            usage=report.usage,
            idempotency_key=self.key,
        )
