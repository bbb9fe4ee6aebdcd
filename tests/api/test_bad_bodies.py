"""Every field of every body, with everything that does not belong there: a 4xx that names the
field, nothing written, nothing logged as an error."""

import json
import select
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.api.harness import WORK_ORDER, Api
from tests.waiting import HANG_SECONDS

START = "/api/work-orders/start"
REGISTER = "/api/work-orders"
NOBODY = "01a20084-921b-7fc9-a87f-3a8266b935a1"
JSON = {"Content-Type": "application/json"}

NOT_JSON = ["NaN", "Infinity", "-Infinity", '"\\ud800"', "nul", "01", "+1", ".5", "'a'", ""]
NO_TEXT = ["1", "1.5", "true", "[]", "{}", '["a"]', *NOT_JSON]
TEXT = [*NO_TEXT, '"a\\u0000b"', '"a\\nb"', '"a\\n"', '"\\u0085"', '"\\u007f"', f'"{"x" * 10_000}"']
NAME = [*TEXT, "null", '""', '"  "', '"\\u00a0"']
WHOLE = ["-1", "1.5", "1e400", "1e-400", '"1"', '"NaN"', "true", "[]", "{}", "9" * 30, *NOT_JSON]
MONEY = [
    *("-1", "-0.000000001", "1e400", "1000000.01", "9" * 60, "0." + "1" * 60, "true", "[]", "{}"),
    *('"-1"', '"NaN"', '"sNaN"', '"Infinity"', '"1e400"', '"abc"', '""', '"1,5"', '"$1"'),
    *('"1_0"', '" 1 "', '"1e2"', '"+1"', '".5"', '"1."', '"١"', '"0.1\\n"', '"1000000.01"'),
    f'"0.{"1" * 31}"',
    *NOT_JSON,
]
RESERVED = ['"start"', '"runs"', '"preflight"']
FLAG = ["0", "1", '"true"', "[]", "{}", *NOT_JSON]
COUNT = [*WHOLE, "null", "5000"]  # more of a part than of the whole
USAGE = {
    "model": NAME,
    "inputTokens": WHOLE,
    "outputTokens": WHOLE,
    "cachedInputTokens": COUNT,
    "cacheWriteTokens": COUNT,
    "cacheWrite1hTokens": COUNT,
    "reasoningTokens": COUNT,
    "audioInputTokens": COUNT,
    "audioOutputTokens": COUNT,
    "imageInputTokens": COUNT,
    "imageOutputTokens": COUNT,
}

BASE: dict[str, dict[str, str]] = {
    "start": {"workOrderId": f'"{WORK_ORDER}"', "agentName": '"agent-1"'},
    "finish": {"status": '"success"', "costUsd": '"0.01"'},
    "extend": {},
    "register": {"title": '"A new one"'},
    "usage": {"model": '"gpt-4o-mini"', "inputTokens": "10", "outputTokens": "10"},
}
BAD: dict[str, dict[str, list[str]]] = {
    "start": {
        "workOrderId": NAME,
        "agentName": NAME,
        "estimatedCostUsd": MONEY,
        "model": TEXT,
        "estimatedInputTokens": [*WHOLE, "1000000001"],
        "estimatedOutputTokens": [*WHOLE, "1000000001"],
        "leaseSeconds": [*WHOLE, "0", "86401"],
        "userId": TEXT,
        "surface": TEXT,
        "feature": TEXT,
        "dryRun": FLAG,
        "confirm": FLAG,
    },
    "finish": {
        "status": [*NAME, '"running"', '"expired"', '"SUCCESS"'],
        "costUsd": MONEY,
        "usage": ["1", "[]", '"a"', "true", *NOT_JSON],
    },
    "extend": {"additionalUsd": MONEY, "leaseSeconds": [*WHOLE, "0", "86401"]},
    "register": {
        "title": NAME,
        "id": [*TEXT, '""', '" a"', '"a/b"', '"-a"', '"ä"', f'"{"a" * 101}"', *RESERVED],
        "maxConcurrentRuns": [*WHOLE, "0", "3"],
    },
}
# The wire cannot carry what is no JSON, and then there is no field to name.
MISSING = [
    ("start", "workOrderId"),
    ("start", "agentName"),
    ("finish", "status"),
    ("register", "title"),
]


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx2.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="module")
def run(api: Api, client: httpx2.Client) -> str:
    answer = api.start(client, estimatedCostUsd="0.05")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["runId"])


@pytest.fixture(scope="module")
def paths(run: str) -> dict[str, str]:
    return {
        "start": START,
        "register": REGISTER,
        "finish": f"/api/work-orders/runs/{run}/finish",
        "extend": f"/api/work-orders/runs/{run}/extend",
    }


def raw(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def strict(text: str) -> bool:
    """Whether it is JSON as the RFC has it."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def refused(api: Api, answer: httpx2.Response, before: object) -> dict[str, list[str]]:
    """What the answer says of each field, after what every refusal of bad input keeps to."""
    assert answer.status_code == 400, (answer.status_code, answer.request.content, answer.text)
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "fields"}
    assert body["error"]
    assert api.written() == before
    assert api.errors() == []
    fields: dict[str, list[str]] = body.get("fields", {})
    return fields


@pytest.mark.parametrize(("endpoint", "name"), [(e, name) for e in BAD for name in BAD[e]])
def test_bad_values(
    api: Api, client: httpx2.Client, paths: dict[str, str], endpoint: str, name: str
) -> None:
    before = api.written()
    for value in BAD[endpoint][name]:
        body = raw(BASE[endpoint] | {name: value})
        fields = refused(api, client.post(paths[endpoint], content=body, headers=JSON), before)
        assert list(fields) == ([name] if strict(value) else []), value


@pytest.mark.parametrize("name", USAGE)
def test_bad_usage(api: Api, client: httpx2.Client, paths: dict[str, str], name: str) -> None:
    before = api.written()
    for value in USAGE[name]:
        usage = raw(BASE["usage"] | {name: value})
        body = raw({"status": '"success"', "usage": usage})
        answer = client.post(paths["finish"], content=body, headers=JSON)
        fields = list(refused(api, answer, before))
        assert fields in ([f"usage.{name}"], ["usage"]) if strict(value) else not fields, value


@pytest.mark.parametrize(("endpoint", "name"), MISSING)
def test_missing_field(
    api: Api, client: httpx2.Client, paths: dict[str, str], endpoint: str, name: str
) -> None:
    before = api.written()
    body = {field: value for field, value in BASE[endpoint].items() if field != name}
    answer = client.post(paths[endpoint], content=raw(body), headers=JSON)
    assert list(refused(api, answer, before)) == [name]


@pytest.mark.parametrize("endpoint", BAD)
def test_unknown_and_repeated_fields_are_refused_by_name(
    api: Api, client: httpx2.Client, paths: dict[str, str], endpoint: str
) -> None:
    before = api.written()
    for extra in ("estimatedCostUSD", "work_order_id", "__proto__", "ünknown", "x" * 10_000):
        answer = client.post(
            paths[endpoint], content=raw(BASE[endpoint] | {extra: "1"}), headers=JSON
        )
        assert list(refused(api, answer, before)) == [extra]
    for name in BASE[endpoint]:
        body = raw(BASE[endpoint])[:-1] + f', "{name}": {BASE[endpoint][name]}}}'
        assert list(
            refused(api, client.post(paths[endpoint], content=body, headers=JSON), before)
        ) == [name]


@pytest.mark.parametrize("endpoint", BAD)
@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b"1",
            b'"a"',
            b"true",
            b"{}{}",
            b"\x00",
            b"\xff\xfe",
            b"{'a': 1}",
        ),
        *(b"\xef\xbb\xbf{}", b'{"a": "\xff"}', '{"a": 1}'.encode("utf-16"), b"<a/>", b"a=b"),
        *(
            b"[" * 10_000,
            b'{"a":' * 10_000,
            b'{"a":[' * 5_000 + b"]}" * 5_000,
            b'{"status": "\xc3(',
        ),
        b'{"title": "\xff\xfe"}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_bodies_that_are_no_object(
    api: Api, client: httpx2.Client, paths: dict[str, str], endpoint: str, body: bytes
) -> None:
    before = api.written()
    refused(api, client.post(paths[endpoint], content=body, headers=JSON), before)


@pytest.mark.parametrize("endpoint", BAD)
def test_a_huge_body(api: Api, client: httpx2.Client, paths: dict[str, str], endpoint: str) -> None:
    before = api.written()
    for size in (65_537, 10_000_000):
        body = b'{"a": "' + b"x" * size + b'"}'
        answer = client.post(paths[endpoint], content=body, headers=JSON)
        assert answer.status_code == 413
        assert answer.json() == {"error": "the request body is too large"}
    assert api.written() == before
    assert api.errors() == []


@pytest.mark.parametrize("endpoint", BAD)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "a", "", "ü"]
)
def test_wrong_content_type(
    api: Api, client: httpx2.Client, paths: dict[str, str], endpoint: str, kind: str
) -> None:
    before = api.written()
    answer = client.post(
        paths[endpoint],
        content=raw(BASE[endpoint]),
        headers=[(b"Content-Type", kind.encode("latin-1"))],
    )
    assert answer.status_code == 415, answer.text
    assert set(answer.json()) == {"error"}
    assert api.written() == before
    assert api.errors() == []


def test_a_body_of_no_announced_length(api: Api, client: httpx2.Client) -> None:
    body = raw(BASE["start"]).encode()
    answer = client.post(START, content=iter([body[:10], body[10:]]), headers=JSON)
    assert answer.status_code == 201, answer.text
    before = api.written()
    answer = client.post(START, content=iter([]), headers=JSON)
    assert answer.status_code == 400
    assert api.written() == before


@pytest.mark.parametrize(
    "run_id",
    [
        *("1", "null", "..%2f..", "%00", "%ff", "'", "x" * 5000, "%F0%9F%98%80", "a%0Ab"),
        *(NOBODY.upper(), NOBODY + "%0a", "{" + NOBODY + "}", NOBODY[:-1]),
        NOBODY,
    ],
)
@pytest.mark.parametrize("act", ["finish", "extend"])
def test_odd_run_ids(api: Api, client: httpx2.Client, act: str, run_id: str) -> None:
    before = api.written()
    answer = client.post(
        f"/api/work-orders/runs/{run_id}/{act}", content=raw(BASE[act]), headers=JSON
    )
    assert answer.status_code == 404, answer.text
    assert set(answer.json()) == {"error"}
    assert api.written() == before
    assert api.errors() == []


@pytest.mark.parametrize("key", ["", '""', "ü", "x" * 256, "a\tb", '"' + "x" * 256 + '"'])
def test_bad_idempotency_key(
    api: Api, client: httpx2.Client, paths: dict[str, str], key: str
) -> None:
    before = api.written()
    for endpoint in ("start", "extend"):
        answer = client.post(
            paths[endpoint],
            content=raw(BASE[endpoint]),
            headers=[
                (b"Content-Type", b"application/json"),
                (b"Idempotency-Key", key.encode("latin-1")),
            ],
        )
        assert list(refused(api, answer, before)) == ["Idempotency-Key"]


def test_fields_that_do_not_go_together(
    api: Api, client: httpx2.Client, paths: dict[str, str]
) -> None:
    before = api.written()
    for endpoint, body, name in (
        ("start", {**BASE["start"], "estimatedInputTokens": "1"}, "model"),
        ("start", {**BASE["start"], "estimatedOutputTokens": "1"}, "model"),
        ("finish", {"status": '"success"'}, "costUsd"),
        ("finish", {**BASE["finish"], "usage": raw(BASE["usage"])}, "costUsd"),
    ):
        answer = client.post(paths[endpoint], content=raw(body), headers=JSON)
        assert list(refused(api, answer, before)) == [name]


@pytest.mark.parametrize(
    ("given", "reserved"),
    [
        ("0", "0.00"),
        ('"0"', "0.00"),
        ("-0.0", "0.00"),
        ("1e-400", "0.00"),
        ("1e-9", "0.000000001"),
        ("0.00000000049", "0.00"),
        ('"0.1234567891"', "0.123456789"),
        ("1.5e0", "1.50"),
        ("1000000", "1000000.00"),
    ],
)
def test_amounts_that_are_good(client: httpx2.Client, given: str, reserved: str) -> None:
    body = raw(BASE["start"] | {"estimatedCostUsd": given, "confirm": "true"})
    answer = client.post(START, content=body, headers=JSON)
    assert answer.status_code == 201, answer.text
    assert answer.json()["reservedUsd"] == reserved


def test_absent_and_null_are_the_same_where_a_field_is_optional(client: httpx2.Client) -> None:
    optional = dict.fromkeys(BAD["start"].keys() - BASE["start"].keys(), "null")
    answer = client.post(START, content=raw(BASE["start"] | optional), headers=JSON)
    assert answer.status_code == 201, answer.text


def test_names_of_any_script(api: Api, client: httpx2.Client) -> None:
    answer = api.start(client, agentName="Ñandú 漢字 🦊", userId="\u05d0bc", feature="é" * 100)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "path", ["/api/work-orders", "/api/cap-changes/1/decision", "/api/nowhere", "/healthz"]
)
def test_a_refusal_does_not_break_the_connection(api: Api, path: str) -> None:
    """Each of these is refused without its body being needed; the body is under way meanwhile."""
    connection = HTTPConnection(urlsplit(api.service.url).netloc, timeout=HANG_SECONDS)
    for _ in range(3):
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "20")
        connection.endheaders()
        select.select([connection.sock], [], [], 0.1)  # until an answer that did not wait for it
        connection.send(b'{"title": "and on" }')
        answer = connection.getresponse()
        assert 400 <= answer.status < 500
        answer.read()
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok\n")
