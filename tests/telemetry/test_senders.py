"""Event ids are the sender's own: nobody's event is another's duplicate."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from budgets import admission
from budgets.admission import FinishTold
from opslog.models import InferenceEvent, ToolCall, ToolHour
from opslog.pricing import Usage
from opslog.principal import Principal
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from tests import factories
from tests.admission.desk import Desk, run_of

if TYPE_CHECKING:
    from tests.api.harness import Api

pytestmark = pytest.mark.usefixtures("committed_db")
ANN, BOB = Principal(owner_id=11), Principal(owner_id=12)


def report(event_id: str, usd: str, principal: Principal) -> str:
    draft = InferenceDraft(event_id=event_id, model="m", cost_usd=Decimal(usd))
    (outcome,) = accept_inference([draft], source="api", principal=principal)
    return str(outcome.status)


def test_one_id_of_two_senders_is_two_events() -> None:
    assert report("trace-777", "0", BOB) == "accepted"
    assert report("trace-777", "50", ANN) == "accepted"
    assert report("trace-777", "50", ANN) == "duplicate"
    assert report("trace-777", "0", BOB) == "duplicate"
    assert set(InferenceEvent.objects.values_list("cost_usd", flat=True)) == {0, 50}


def test_at_the_same_microsecond() -> None:
    at = datetime.now(UTC) - timedelta(minutes=1)
    draft = InferenceDraft(event_id="e", model="m", cost_usd=Decimal(1), created_at=at)
    for principal, status in ((ANN, "accepted"), (BOB, "accepted"), (ANN, "duplicate")):
        (outcome,) = accept_inference([draft], source="otlp", principal=principal)
        assert outcome.status == status


def test_tools_alike() -> None:
    draft = ToolDraft(tool_name="t", event_id="x")
    statuses = [accept_tools([draft], principal=each)[0].status for each in (ANN, BOB, ANN, BOB)]
    assert statuses == ["accepted", "accepted", "duplicate", "duplicate"]
    assert ToolCall.objects.count() == 2


def test_nobody_is_before_a_run() -> None:
    """A sender who claims the id of a run neither hides its event nor is hidden by it."""
    factories.make_work_order()
    factories.make_price("m")
    desk = Desk()
    run = run_of(desk.start())
    assert report(run, "0", BOB) == "accepted"
    usage = Usage(1_000_000, 1_000_000)
    end = FinishTold(status="success", model="m", usage=usage)
    assert admission.finish(UUID(run), end, caller=desk.caller).status == 200
    own = InferenceEvent.objects.get(event_id=run, source="run")
    assert own.sender_id == 0
    assert own.cost_usd
    # Its own client, telling of it again under the id of the run.
    assert report(run, "1", ANN) == "duplicate"


def test_a_tool_call_is_asked_for_by_the_same_sender() -> None:
    at = datetime.now(UTC).replace(minute=10, second=0) - timedelta(hours=1)
    for principal, usd in ((ANN, "1"), (BOB, "40")):
        accept_inference(
            [InferenceDraft(event_id="e1", model="m", cost_usd=Decimal(usd), created_at=at)],
            source="api",
            principal=principal,
        )
    call = ToolDraft(
        tool_name="t", event_id="t1", inference_event_id="e1", retries=1,
        created_at=at + timedelta(minutes=1),
    )  # fmt: skip
    accept_tools([call], principal=ANN)
    rollup.refresh()
    assert [hour.retry_cost_usd for hour in ToolHour.objects.exclude(retry_requests=0)] == [1]


def test_tokens_of_one_owner_are_one_sender(api: "Api", django_db_blocker: DjangoDbBlocker) -> None:
    with factories.inside(api.service.database, django_db_blocker):
        people = [factories.make_user(name) for name in ("ann", "bob")]
        tokens = [factories.make_token(["ingest"], owner=people[n])[1] for n in (0, 0, 1)]
    body = {"eventId": "mine", "model": "m", "costUsd": "2"}
    counts = []
    for text in tokens:
        with api.client(None) as client:
            answer = client.post(
                "/api/inference-events", json=body, headers={"Authorization": f"Bearer {text}"}
            )
        counts.append(answer.json()["accepted"])
    assert counts == [1, 0, 1]
