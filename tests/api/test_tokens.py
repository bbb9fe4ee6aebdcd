"""Which token may do what: every endpoint of the URL configuration × every kind of token."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import httpx2
import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from opslog.incidents.detecting import record_verdict
from tests import factories
from tests.api.harness import WORK_ORDER, Api
from tests.incidents.findings import make_finding, whole_hour
from workorders import tokens
from workorders.models import Scope

OPEN = {"schema", "docs"}
START = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}
STOP = {"scope": "Identity", "target": "user:nobody", "enabled": True, "reason": "a test"}
# Name and method → the scopes of which one suffices, and a body.
ENDPOINTS: dict[tuple[str, str], tuple[set[str], Any]] = {
    ("work-orders", "GET"): ({"read"}, None),
    ("work-orders", "POST"): ({"admin"}, {"title": "One more"}),
    ("work-order", "GET"): ({"read"}, None),
    ("work-order-runs", "GET"): ({"read"}, None),
    ("work-order-usage", "GET"): ({"read"}, None),
    ("work-order-start", "POST"): ({"start"}, START),
    ("run-finish", "POST"): ({"start", "admin"}, {"status": "success", "costUsd": "0.01"}),
    ("run-extend", "POST"): ({"start", "admin"}, {}),
    ("operations-events", "GET"): ({"read"}, None),
    ("inference-events", "POST"): ({"ingest"}, {"model": "gpt-4o-mini"}),
    ("tool-calls", "POST"): ({"ingest"}, {"toolName": "search"}),
    ("litellm-callback", "POST"): ({"ingest"}, {"id": "x", "model": "gpt-4o-mini"}),
    ("otlp-traces", "POST"): ({"ingest"}, {"resourceSpans": []}),
    ("changes", "GET"): ({"read"}, None),
    ("changes", "POST"): ({"ingest"}, {"kind": "deploy", "what": "search 4.12.0"}),
    ("forecast", "GET"): ({"read"}, None),
    ("incidents", "GET"): ({"read"}, None),
    ("incident", "GET"): ({"read"}, None),
    ("work-order-cap-changes", "POST"): (
        {"request"},
        {"usdPerDay": 8, "justification": "more", "expectedCostImpact": "$1 a day"},
    ),
    ("preflight", "POST"): ({"start"}, {"tasks": [{"workOrderId": WORK_ORDER, "name": "digest"}]}),
    ("feature", "GET"): ({"start", "read", "admin"}, None),
    ("killswitch", "GET"): ({"read", "killswitch", "admin"}, None),
    ("killswitch", "POST"): ({"killswitch", "admin"}, STOP),
    ("burn-rate", "GET"): ({"read"}, None),
    ("llm-budget", "GET"): ({"admin"}, None),
    ("llm-check", "POST"): ({"start"}, {"estimatedCostUsd": "0.01"}),
    ("llm-spend", "POST"): ({"start"}, {"costUsd": "0.01"}),
}
# For people in a session (tests/api/test_cap_changes.py): no token is good for them.
FOR_PEOPLE = {
    ("cap-changes", "GET"),
    ("cap-change", "GET"),
    ("cap-change-decision", "POST"),
    ("cap-change-cancel", "POST"),
    ("cap-change-edit", "POST"),
}
INCIDENT = "1"  # the first of the fresh database
SPARE = count()  # one request may be open on a work order: each ask has its own
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_GOOD = {
    "none": (401, "token"),
    "garbage": (401, "token"),
    "digest": (401, "token"),
    "revoked": (401, "token"),
    "expired": (401, "token"),
    "inactive": (401, "token"),
    "elsewhere": (403, "token"),
}


def endpoints(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, method and path of everything under api/ and v1/."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from endpoints(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and path.startswith(("api/", "v1/")):
            view = vars(pattern.callback).get("view_class") or vars(pattern.callback)["cls"]
            for method in METHODS:
                if hasattr(view, method.lower()) and pattern.name not in OPEN:
                    yield str(pattern.name), method, f"/{path}"


EVERY = sorted(endpoints(get_resolver().url_patterns))
ALL = [each for each in EVERY if each[:2] not in FOR_PEOPLE]


@pytest.fixture(scope="module")
def held(api: Api, django_db_blocker: DjangoDbBlocker) -> dict[str, str]:
    """Token texts: those of the single scopes, the narrowed one, and all that are not good."""
    every = [scope.value for scope in Scope]
    with factories.inside(api.service.database, django_db_blocker):
        for number in range(80):
            factories.make_work_order(f"spare-{number}")
        factories.make_work_order("other", max_concurrent_runs=1000)
        found = record_verdict(make_finding(until=whole_hour(timezone.now())), now=timezone.now())
        assert found is not None
        assert str(found.pk) == INCIDENT
        gone = factories.make_user("gone", is_active=False)
        past = timezone.now() - timedelta(seconds=1)
        revoked, text = factories.make_token(every)
        tokens.revoke(revoked.pk, by="test", reason="a test")
        narrow, narrow_text = factories.make_token(every, work_orders=["other"])
        return api.tokens | {
            "none": "",
            "garbage": "tg_" + "x" * 43,
            "digest": narrow.digest.hex(),
            "revoked": text,
            "expired": factories.make_token(every, expires_at=past)[1],
            "inactive": factories.make_token(every, owner=gone)[1],
            "elsewhere": factories.make_token(every, networks=["192.0.2.0/24", "2001:db8::/32"])[1],
            "narrow": narrow_text,
            "here": factories.make_token(every, networks=["192.0.2.0/24", "127.0.0.0/8"])[1],
        }


@pytest.fixture(scope="module")
def http(api: Api) -> Iterator[httpx2.Client]:
    with api.client(None) as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"} if text else {}


def started(http: httpx2.Client, text: str, **body: Any) -> str:
    answer = http.post("/api/work-orders/start", json=START | body, headers=bearer(text))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["runId"])


def call(
    http: httpx2.Client, name: str, method: str, path: str, headers: dict[str, str], run_id: str
) -> httpx2.Response:
    work_order = f"spare-{next(SPARE)}" if name == "work-order-cap-changes" else WORK_ORDER
    path = path.replace("<wo:wo_id>", work_order).replace("<uuid:run_id>", run_id)
    path = path.replace("<str:feature>", "chat")
    path = path.replace("<int:incident_id>", INCIDENT)
    return http.request(method, path, json=ENDPOINTS[name, method][1], headers=headers)


def test_the_table_is_complete() -> None:
    assert {(name, method) for name, method, _ in EVERY} == ENDPOINTS.keys() | FOR_PEOPLE


@pytest.mark.parametrize(("name", "method", "path"), [e for e in EVERY if e[:2] in FOR_PEOPLE])
def test_a_token_never_decides(
    api: Api, http: httpx2.Client, held: dict[str, str], name: str, method: str, path: str
) -> None:
    """Nor does it read what is for people: whatever its scopes are."""
    before = api.written()
    path = path.replace("<id:change_id>", "1")
    for text in (held["none"], held["garbage"], held["all"], held["admin"], held["narrow"]):
        for headers in (bearer(text), {"x-api-key": text}) if text else ({},):
            answer = http.request(method, path, json={}, headers=headers)
            assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "session")
    assert api.written() == before


@pytest.mark.parametrize(("name", "method", "path"), ALL)
def test_tokens_that_are_not_good(
    api: Api, http: httpx2.Client, held: dict[str, str], name: str, method: str, path: str
) -> None:
    run_id = started(http, held["all"])
    before = api.written()
    for kind, (status, denial) in NOT_GOOD.items():
        text = held[kind]
        forms = [bearer(text), {"X-Api-Key": text}, {"Authorization": f"bearer   {text}"}]
        for headers in [*forms, {"Authorization": f"Basic {text}"}] if text else [{}]:
            answer = call(http, name, method, path, headers, run_id)
            basic = headers.get("Authorization", "").startswith("Basic")
            outcomes = (answer.status_code, answer.headers["Tollgate-Denial"])
            assert outcomes == ((401, "token") if basic else (status, denial)), (kind, headers)
            # OTLP says what an error looks like: a google.rpc.Status.
            shape = {"code", "message"} if name == "otlp-traces" else {"error"}
            assert set(answer.json()) == shape
            assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (outcomes[0] == 401)
    assert api.written() == before


@pytest.mark.parametrize(("name", "method", "path"), ALL)
def test_scopes(
    api: Api, http: httpx2.Client, held: dict[str, str], name: str, method: str, path: str
) -> None:
    needed, _ = ENDPOINTS[name, method]
    for scope in Scope.values:
        run_id = started(http, held["start"])
        before = api.written()
        answer = call(http, name, method, path, bearer(held[scope]), run_id)
        if scope in needed:
            assert answer.is_success, (scope, answer.text)
        else:
            assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "scope")
            assert api.written() == before


@pytest.mark.parametrize(("name", "method", "path"), ALL)
def test_both_headers_and_the_right_network(
    http: httpx2.Client, held: dict[str, str], name: str, method: str, path: str
) -> None:
    for text in (held["all"], held["here"]):
        for headers in (bearer(text), {"x-api-key": text}, {"Authorization": f"BEARER {text}"}):
            run_id = started(http, text)
            assert call(http, name, method, path, headers, run_id).is_success


def test_a_token_for_some_work_orders_sees_and_touches_only_those(
    api: Api, http: httpx2.Client, held: dict[str, str]
) -> None:
    narrow = bearer(held["narrow"])
    foreign = started(http, held["all"])
    mine = started(http, held["narrow"], workOrderId="other")
    before = api.written()
    for path in ("", "/runs", "/usage"):
        answer = http.get(f"/api/work-orders/{WORK_ORDER}{path}", headers=narrow)
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "scope")
        assert http.get(f"/api/work-orders/other{path}", headers=narrow).status_code == 200
    answer = http.post("/api/work-orders/start", json=START, headers=narrow)
    assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "scope")
    asked = ENDPOINTS["work-order-cap-changes", "POST"][1]
    answer = http.post("/api/work-orders/spare-79/cap-changes", json=asked, headers=narrow)
    assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "scope")
    for body in ({"title": "x"}, {"title": "x", "id": "elsewhere"}):
        answer = http.post("/api/work-orders", json=body, headers=narrow)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["id"])
    listed = http.get("/api/work-orders", headers=narrow).json()["results"]
    assert [row["id"] for row in listed] == ["other"]
    for query in ("", f"?workOrder={WORK_ORDER}", "?kind=TOKEN_CREATED", "?ownerType=work_order"):
        events = http.get(f"/api/operations-events{query}", headers=narrow).json()["results"]
        assert {row["ownerId"] for row in events} <= {"other"}
    # The scope admin finishes any run, within the work orders of its token.
    for act, item in (("finish", {"status": "error", "costUsd": 0}), ("extend", {})):
        answer = http.post(f"/api/work-orders/runs/{foreign}/{act}", json=item, headers=narrow)
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (404, "unknown_run")
    assert api.written() == before
    answer = http.post(
        f"/api/work-orders/runs/{mine}/finish",
        json={"status": "success", "costUsd": 0},
        headers=narrow,
    )
    assert answer.status_code == 200


def test_the_run_of_another_token_does_not_exist(
    api: Api, http: httpx2.Client, held: dict[str, str]
) -> None:
    run_id = started(http, held["here"])
    before = api.written()
    for act, item in (("finish", {"status": "success", "costUsd": 1}), ("extend", {})):
        path = f"/api/work-orders/runs/{run_id}/{act}"
        answer = http.post(path, json=item, headers=bearer(held["start"]))
        assert (answer.status_code, answer.json()) == (404, {"error": "unknown run"})
        nobody = path.replace(run_id, "01a20084-921b-7fc9-a87f-3a8266b935a1")
        assert http.post(nobody, json=item, headers=bearer(held["start"])).text == answer.text
    assert api.written() == before
    answer = http.post(
        f"/api/work-orders/runs/{run_id}/finish",
        json={"status": "success", "costUsd": "0.01"},
        headers=bearer(held["admin"]),
    )
    assert answer.status_code == 200


def test_revocation_and_expiry_hold_from_the_next_request(
    api: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    with factories.inside(api.service.database, django_db_blocker):
        for end in ("revoke", "expire", "deactivate"):
            owner = factories.make_user(f"owner-{end}")
            token, text = factories.make_token(["start", "read"], owner=owner)
            run_id = started(http, text)
            assert http.get("/api/work-orders", headers=bearer(text)).status_code == 200
            if end == "revoke":
                tokens.revoke(token.pk, by="test", reason="a test")
            elif end == "expire":
                api.sql("UPDATE service_tokens SET expires_at = now() WHERE id = %s", token.pk)
            else:
                api.sql("UPDATE auth_user SET is_active = false WHERE id = %s", owner.pk)
            for path in ("start", f"runs/{run_id}/finish", f"runs/{run_id}/extend"):
                body = {"start": START, "h": {"status": "success", "costUsd": 0}}.get(
                    "start" if path == "start" else path[-1], {}
                )
                answer = http.post(f"/api/work-orders/{path}", json=body, headers=bearer(text))
                assert answer.status_code == 401, (end, path)
            assert http.get("/api/work-orders", headers=bearer(text)).status_code == 401


def test_pinned_surface_and_feature_win(
    api: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    with factories.inside(api.service.database, django_db_blocker):
        _, text = factories.make_token(["start"], surface="ide", feature="digest")
    run_id = started(http, text, surface="web", feature="other")
    rows = api.sql("SELECT surface, feature FROM work_order_runs WHERE id = %s", run_id)
    assert rows == [("ide", "digest")]
