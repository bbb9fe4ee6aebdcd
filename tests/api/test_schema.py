"""The schema is clean, says how one authenticates, and its examples are true."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from django.core.management import call_command

from config import api_schema
from tests.api.harness import Api

FOR_PEOPLE = "/api/cap-changes"  # their examples: tests/api/test_cap_changes.py
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx2.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="module")
def schema(client: httpx2.Client) -> dict[str, Any]:
    answer = client.get("/api/schema", headers={"Authorization": ""})
    assert answer.status_code == 200
    return dict(answer.json())


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in schema["paths"].items():
        for method in METHODS & item.keys():
            yield path, method, item[method]


def test_clean(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema"))
    assert capsys.readouterr().err == ""


def test_it_is_made_once(client: httpx2.Client) -> None:
    made = api_schema.document()
    assert api_schema.document() is made
    assert gzip.decompress(made.packed) == made.plain
    assert json.loads(made.plain) == client.get("/api/schema").json()


def test_it_is_sent_to_those_who_do_not_have_it(client: httpx2.Client) -> None:
    plain = client.get("/api/schema", headers={"Authorization": "", "Accept-Encoding": "identity"})
    packed = client.get("/api/schema", headers={"Authorization": "", "Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content
    assert plain.headers["Cache-Control"] == "public, max-age=300"
    for answer in (plain, packed):
        assert answer.headers["Vary"] == "Accept-Encoding"
        again = client.get("/api/schema", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/schema", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head("/api/schema").status_code == 200


def test_null_is_a_type(client: httpx2.Client, schema: dict[str, Any]) -> None:
    """OpenAPI 3.1 knows no `nullable`: the null of a last page has to be valid."""
    assert '"nullable"' not in json.dumps(schema)
    page = client.get("/api/operations-events").json()
    name = schema["paths"]["/api/operations-events"]["get"]["responses"]["200"]["content"]
    listed = name["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    result = schema["components"]["schemas"][listed]["properties"]["next"]["type"]
    assert (page["next"], result) == (None, ["string", "null"])


def test_every_operation_says_how_one_authenticates(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer"}
    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "x-api-key"}
    assert "security" not in schema
    for path, method, operation in operations(schema):
        if path.startswith(FOR_PEOPLE):
            schemes = {"session"} if method == "get" else {"session", "csrf"}
            assert [set(way) for way in operation["security"]] == [schemes], (method, path)
        else:
            assert operation["security"] == [{"bearer": []}, {"apiKey": []}], (method, path)


@pytest.mark.parametrize("path", ["/api/inference-events", "/api/tool-calls"])
def test_event_ids_are_said_to_be_the_senders_own(schema: dict[str, Any], path: str) -> None:
    operation = schema["paths"][path]["post"]
    assert "yours alone" in operation["description"]
    (body,) = operation["requestBody"]["content"].values()
    name = body["schema"]["oneOf"][0]["$ref"].rsplit("/", 1)[1]
    result, _ = schema["components"]["schemas"][name]["properties"]["eventId"]["anyOf"]  # or null
    assert "Yours alone" in result["description"]


def test_every_operation_is_described(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(schema)]
    assert len(set(names)) == len(names) >= 9
    for path, method, operation in operations(schema):
        assert operation["summary"], (method, path)
        assert operation["tags"], (method, path)
        always = {"403", "503"} if path.startswith(FOR_PEOPLE) else {"401", "403", "503"}
        assert always <= operation["responses"].keys(), (method, path)


def test_every_example_is_true(api: Api, client: httpx2.Client, schema: dict[str, Any]) -> None:
    """A path's run, and its work order, were made for it."""
    sent = 0
    for path, method, operation in operations(schema):
        if path.startswith(FOR_PEOPLE):
            continue
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in body.get("examples", {}).items():
            run_id = api.start(client, estimatedCostUsd="0.05").json()["runId"]
            fresh = client.post("/api/work-orders", json={"title": "Fresh"}).json()["id"]
            place = path.replace("{run_id}", run_id).replace("{wo_id}", fresh)
            answer = client.request(method, place, json=example["value"])
            assert answer.is_success, (path, name, answer.text)
            assert str(answer.status_code) in operation["responses"], (path, name)
            assert json.loads(answer.text) is not None  # OTLP says all is well with {}
            sent += 1
        assert not body or body.get("examples"), f"{path} has no example"
    assert sent >= 8
