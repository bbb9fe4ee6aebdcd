"""The structs of the schema against the JSON that the database makes: every field, in both ways."""

from typing import Any

import httpx2
import msgspec
import pytest
from django.urls import get_resolver

from budgets.api.guardrails import Checked, Spent
from budgets.api.schema import Admitted, DryRun, Extended, Finished
from opslog.api.requests import AMOUNTS, Body
from tests.api.harness import WORK_ORDER, Api

RUN = "/api/work-orders/runs/{}/{}"
OPTIONAL = {"replayed", "settlement"}


def undescribed(answer: httpx2.Response, kind: type[msgspec.Struct]) -> set[str]:
    """Names that the answer has and the struct has not, or the other way around. Raises
    ValidationError for a value of another type."""
    assert answer.is_success, answer.text
    msgspec.json.decode(answer.content, type=kind, dec_hook=lambda kind, value: kind(value))
    described = {field.encode_name for field in msgspec.structs.fields(kind)}
    return (described ^ set(answer.json())) - OPTIONAL


@pytest.fixture(scope="module")
def client(api: Api) -> Any:
    with api.client() as client:
        yield client


def test_answers_of_the_database_are_described(api: Api, client: httpx2.Client) -> None:
    dry = api.start(client, dryRun=True)
    assert undescribed(dry, DryRun) == set()
    key = {"Idempotency-Key": "described"}
    body = {"workOrderId": WORK_ORDER, "agentName": "a", "estimatedCostUsd": "0.01"}
    started = client.post("/api/work-orders/start", json=body, headers=key)
    assert undescribed(started, Admitted) == set()
    run_id = started.json()["runId"]
    extended = client.post(RUN.format(run_id, "extend"), json={"additionalUsd": "0.01"})
    assert undescribed(extended, Extended) == set()
    open_still = client.post("/api/work-orders/start", json=body, headers=key)
    assert undescribed(open_still, Admitted) == set()
    assert open_still.json()["settlement"] is None
    ended = {"status": "success", "costUsd": "0.01"}
    assert undescribed(client.post(RUN.format(run_id, "finish"), json=ended), Finished) == set()
    settled = client.post("/api/work-orders/start", json=body, headers=key)
    assert undescribed(settled, Admitted) == set()
    assert settled.json()["replayed"] is True
    advice = client.post("/v1/llm/check", json={"estimatedCostUsd": "0.01"})
    assert undescribed(advice, Checked) == set()
    spent = client.post("/v1/llm/spend", json={"costUsd": "0.01"})
    assert undescribed(spent, Spent) == set()


def test_an_amount_in_a_list_has_the_digits_that_the_schema_tells(client: httpx2.Client) -> None:
    task = {"workOrderId": WORK_ORDER, "name": "Monday", "estimatedCostUsd": "1e1"}
    answer = client.post("/api/work-orders/preflight", json={"tasks": [task]})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["estimatedCostUsd"])


def amounts_of(body: type[Body]) -> set[str]:
    properties = msgspec.json.schema(body)["$defs"][body.__name__]["properties"]
    return {name for name, schema in properties.items() if "US dollars" in str(schema)}


def test_every_amount_of_a_body_is_examined() -> None:
    """By its name (`opslog.api.requests.AMOUNTS`)."""
    assert get_resolver().url_patterns  # imports every view with its bodies
    named: set[str] = set()
    for body in Body.__subclasses__():
        named |= amounts_of(body)
    assert named == AMOUNTS
