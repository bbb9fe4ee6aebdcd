"""A run that is settled by its usage tells of it, once; so does a spend."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from budgets import admission, tasks
from budgets.admission import FinishTold, direct_spend
from opslog.models import InferenceEvent, StaleHour
from opslog.pricing import Usage
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference
from opslog.telemetry.drafts import InferenceDraft
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.telemetry.recomputed import differences
from workorders.models import Run

MODEL = "gpt-4o-mini"
USAGE = Usage(1_000_000, 500_000, cached_input_tokens=200_000, reasoning_tokens=100_000)


@pytest.fixture
def desk(committed_db: str) -> Desk:
    factories.make_agent()
    factories.make_work_order("w1", usd_per_day="1000")
    factories.lift_limits()
    factories.make_price()
    return Desk()


def finish(desk: Desk, run: str, model: str = MODEL, status: str = "success", **kw: Any) -> Any:
    report = FinishTold(**{"status": status, "usage": USAGE, "model": model, **kw})
    return admission.finish(UUID(run), report, caller=desk.caller)


def test_once(desk: Desk) -> None:
    run = run_of(desk.start(user_id="u", surface="cli", feature="chat"))
    assert not InferenceEvent.objects.exists()
    assert finish(desk, run).status == 200
    assert finish(desk, run).replayed
    assert finish(desk, run, status="error").denial == "run_ended"
    event, settled = InferenceEvent.objects.get(), Run.objects.get(pk=run)
    assert (event.event_id, event.source, str(event.run_id)) == (run, "run", run)
    assert (event.wo_id, event.agent_name, event.user_id) == ("w1", "agent-1", "u")
    assert (event.surface, event.feature, event.model) == ("cli", "chat", MODEL)
    assert (event.input_tokens, event.cached_input_tokens) == (1_000_000, 200_000)
    assert (event.output_tokens, event.reasoning_tokens) == (500_000, 100_000)
    assert event.cost_usd == settled.cost
    assert event.success
    assert settled.finished_at is not None
    assert abs(event.created_at - settled.finished_at) < timedelta(seconds=5)
    assert rollup.refresh() == 1
    assert differences() == []


def test_told_by_its_client_too(desk: Desk) -> None:
    """Under the id of the run it is the same event."""
    run = run_of(desk.start())
    finish(desk, run)
    (result,) = accept_inference([InferenceDraft(event_id=run, model=MODEL)], source="api")
    assert result.status == "duplicate"


def test_an_expired_run_that_reports_after_all(desk: Desk) -> None:
    run = run_of(desk.start())
    Run.objects.using("owner").filter(pk=run).update(lease_expires_at=timezone.now())
    assert tasks.expire_leases() == 1
    assert not InferenceEvent.objects.exists()
    finish(desk, run)
    finish(desk, run)
    assert InferenceEvent.objects.count() == 1


def test_what_failed_and_what_has_no_price(desk: Desk) -> None:
    failed, unpriced = run_of(desk.start()), run_of(desk.start())
    finish(desk, failed, status="error")
    finish(desk, unpriced, model="nobody-sells-it")
    assert not InferenceEvent.objects.get(event_id=failed).success
    assert InferenceEvent.objects.get(event_id=unpriced).cost_usd is None


def test_none_without_usage(desk: Desk) -> None:
    desk.finish(run_of(desk.start()))
    assert not InferenceEvent.objects.exists()
    assert not StaleHour.objects.exists()


def test_a_spend(desk: Desk) -> None:
    def spend(**kw: Any) -> Any:
        who = direct_spend.Attribution("u", "cli", "chat", "a")
        return direct_spend.spend(caller=desk.caller, who=who, idempotency_key="k", **kw)

    for _ in range(2):
        assert spend(model=MODEL, usage=USAGE).status == 200
    event = InferenceEvent.objects.get()
    assert (event.source, event.user_id, event.surface) == ("spend", "u", "cli")
    assert (event.feature, event.agent_name, event.model) == ("chat", "a", MODEL)
    assert event.input_tokens == 1_000_000
    assert event.cost_usd is not None
    direct_spend.spend(caller=desk.caller, who=direct_spend.Attribution(), cost_usd=Decimal("0.1"))
    assert InferenceEvent.objects.count() == 1
