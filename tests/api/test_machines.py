"""Logs, metrics, readiness and the page of the API docs, of a service with two workers."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from pytest_django import DjangoDbBlocker

from tests import factories
from tests.api.harness import WORK_ORDER, Api, api_service
from tests.waiting import HANG_SECONDS, wait_until
from tests.walks.browsing import chromium, empty_window

SECRETS = {
    "query": "tg_in-the-query",
    "cookie": "tg_in-the-cookie",
    "password": "tg_in-the-password",
    "garbage": "tg_unknown-token",
    "body": "tg_in-a-bad-body",
    "path": "tg_in-the-path",
}


@pytest.fixture(scope="module")
def two(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """Two worker processes; whoever comes through the trusted proxy is foreign to /metrics."""
    env = {"TRUSTED_PROXIES": "127.0.0.1"}
    with api_service(pristine_database, django_db_blocker, workers=2, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def http(two: Api) -> Iterator[httpx2.Client]:
    with two.client() as client:
        yield client


def figures(text: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    }


def scrape(http: httpx2.Client) -> dict[str, float]:
    answer = http.get("/metrics")
    assert answer.status_code == 200
    return figures(answer.text)


def test_metrics_of_both_workers_add_up(two: Api, http: httpx2.Client) -> None:
    before = scrape(http)

    def session(number: int) -> None:
        with two.client() as client:  # a connection each, so that both workers get some
            answer = two.start(client, estimatedCostUsd="0.25")
            assert answer.status_code == 201
            run = f"/api/work-orders/runs/{answer.json()['runId']}"
            assert client.post(f"{run}/extend", json={"additionalUsd": "0.25"}).status_code == 200
            if number % 2:
                body = {"status": "success", "costUsd": "0.125"}
                assert client.post(f"{run}/finish", json=body).status_code == 200
            assert two.start(client, estimatedCostUsd=6).status_code == 428
            assert two.start(client, workOrderId="nope").status_code == 404

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(session, range(16)))
    after = scrape(http)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('tollgate_admissions_total{replayed="false"}') == 16
    assert grown('tollgate_refusals_total{limit="confirm"}') == 16
    assert grown('tollgate_refusals_total{limit="unknown_work_order"}') == 16
    assert grown('tollgate_finishes_total{status="success"}') == 8
    assert grown("tollgate_reserved_usd_total") == pytest.approx(16 * 0.5)
    assert grown("tollgate_settled_usd_total") == pytest.approx(8 * 0.125)
    assert grown('tollgate_admission_seconds_count{operation="start"}') == 48
    assert grown('tollgate_admission_seconds_bucket{le="+Inf",operation="extend"}') == 16
    assert grown("tollgate_open_runs") == 8
    assert grown("tollgate_reserved_usd_today") == pytest.approx(8 * 0.5)
    assert grown("tollgate_settled_usd_today") == pytest.approx(8 * 0.125)
    assert after["tollgate_database_up"] == 1
    assert after["tollgate_overdue_leases"] == 0
    # No job worker runs here: its heartbeat is missing, and nothing waits for it.
    assert (after["tollgate_queue_depth"], after["tollgate_queue_age_seconds"]) == (0, 0)


def test_metrics_of_the_queue_and_of_overdue_leases(two: Api, http: httpx2.Client) -> None:
    run_id = two.start(http, estimatedCostUsd=0).json()["runId"]
    two.sql(
        "UPDATE work_order_runs SET lease_expires_at = now() - interval '1 hour' WHERE id = %s",
        run_id,
    )
    two.sql(
        "INSERT INTO django_q_ormq (key, payload, lock) VALUES ('k', '', now() - interval '90 s')"
    )
    two.sql("INSERT INTO heartbeats VALUES ('worker', now() - interval '30 s')")
    try:
        seen = scrape(http)
        assert seen["tollgate_overdue_leases"] == 1
        assert seen["tollgate_queue_depth"] == 1
        assert seen["tollgate_queue_age_seconds"] == pytest.approx(90, abs=15)
        assert seen["tollgate_worker_heartbeat_age_seconds"] == pytest.approx(30, abs=15)
    finally:
        two.sql("DELETE FROM django_q_ormq")
        two.sql("DELETE FROM heartbeats")


def test_tokens_limits_and_preflights(two: Api, http: httpx2.Client) -> None:
    before = scrape(http)
    # Of one model: 100 + 50 tokens in, 40 of them cached, 10 written, 30 out; then a call that
    # says nothing of its usage. Of no feature: 7 in.
    bodies: list[dict[str, Any]] = [
        {"inputTokens": 100, "cachedInputTokens": 40, "outputTokens": 20, "feature": "chat"},
        {
            "inputTokens": 50,
            "cacheWriteTokens": 4,
            "cacheWrite1hTokens": 6,
            "outputTokens": 10,
            "reasoningTokens": 3,
            "feature": "chat",
        },
        {"feature": "chat"},
        {"inputTokens": 7},
    ]
    events = [{"model": "measured", "costUsd": "0.1", **each} for each in bodies[:2]]
    events += [{"model": "measured", **each} for each in bodies[2:]]
    assert http.post("/api/inference-events", json=events).status_code == 200
    two.sql("SELECT tollgate.refresh_hours_v1((SELECT max(id) FROM stale_hours), 24)")
    batch = {"workOrderId": "nightly-digest", "name": "one"}
    for usd, passes in (("0.01", True), ("0.02", True), ("0.03", True), ("60", False)):
        asked = {"tasks": [{**batch, "estimatedCostUsd": usd}], "confirm": True}
        answer = http.post("/api/work-orders/preflight", json=asked)
        assert answer.status_code == 200
        assert answer.json()["passed"] is passes
    two.sql(
        "UPDATE budgets SET amount = 123 WHERE scope = 'global' AND \"window\" = 'day'"
        " AND measure = 'usd'"
    )
    try:
        seen = scrape(http)
    finally:
        two.sql(
            "UPDATE budgets SET amount = 1000000000 WHERE scope = 'global' AND"
            " \"window\" = 'day' AND measure = 'usd'"
        )
    chat = {
        kind: seen[f'tollgate_tokens_today{{feature="chat",kind="{kind}",model="measured"}}']
        for kind in ("input", "cached_input", "cache_write", "output", "reasoning")
    }
    assert chat == {
        "input": 150,
        "cached_input": 40,
        "cache_write": 10,
        "output": 30,
        "reasoning": 3,
    }
    pair = '{feature="chat",model="measured"}'
    assert seen[f"tollgate_model_calls_today{pair}"] == 3
    assert seen[f"tollgate_model_calls_without_cost_today{pair}"] == 1
    assert seen['tollgate_tokens_today{feature="",kind="input",model="measured"}'] == 7
    day = '{measure="usd",scope="global",subject="",window="day"}'
    assert seen[f"tollgate_limit{day}"] == 123
    assert seen[f"tollgate_limit_used{day}"] == seen["tollgate_settled_usd_today"]
    assert seen[f"tollgate_limit_reserved{day}"] == seen["tollgate_reserved_usd_today"]
    assert not any(name.startswith("tollgate_limit{") and " None" in name for name in seen)
    assert "tollgate_preflights_passed_percent" not in before
    # three of four
    assert seen["tollgate_preflights_passed_percent"] == 75
    assert seen['tollgate_preflights_total{passed="false"}'] == 1


def test_metrics_are_not_for_strangers(two: Api) -> None:
    with two.client(None) as client:
        far = {"X-Forwarded-For": "192.0.2.1"}
        assert client.get("/metrics", headers=far).status_code == 401
        for name, status in (("start", 403), ("read", 200)):
            key = {"X-Api-Key": two.tokens[name]}
            assert client.get("/metrics", headers=far | key).status_code == status
        assert client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200


def test_readiness_names_what_is_wrong(two: Api, http: httpx2.Client) -> None:
    def ask() -> tuple[int, dict[str, dict[str, str]]]:
        with ThreadPoolExecutor(6) as pool:  # whoever asks at the same time gets the same answer
            answers = list(pool.map(lambda _: http.get("/readyz"), range(6)))
        assert len({answer.status_code for answer in answers}) == 1
        return answers[0].status_code, answers[0].json()

    well = {"status": "ok"}
    status, result = ask()
    assert (status, result["database"], result["migrations"]) == (503, well, well)
    assert result["worker"]["reason"] == "the job worker has not reported yet"
    two.sql("INSERT INTO heartbeats VALUES ('worker', now())")
    names = ("database", "migrations", "routines", "environment", "worker")
    assert ask() == (200, dict.fromkeys(names, well))
    two.sql("UPDATE heartbeats SET at = now() - interval '10 minutes'")
    # What was well holds for a moment, in each process.
    wait_until(lambda: all(http.get("/readyz").status_code == 503 for _ in range(12)))
    status, result = ask()
    assert status == 503
    assert re.search(r"last reported 6\d\d s ago", result["worker"]["reason"])
    two.sql("DELETE FROM heartbeats")
    gone = two.sql("SELECT id FROM django_migrations WHERE app = 'budgets' LIMIT 1")[0][0]
    two.sql("UPDATE django_migrations SET app = 'elsewhere' WHERE id = %s", gone)
    try:
        status, result = ask()
        assert (status, result["database"]) == (503, well)
        assert re.match(r"1 not applied: budgets\.", result["migrations"]["reason"])
    finally:
        two.sql("UPDATE django_migrations SET app = 'budgets' WHERE id = %s", gone)


def test_log_lines_have_the_request_id_and_no_secret(
    two: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    with factories.inside(two.service.database, django_db_blocker):
        person = factories.make_user("clerk", is_staff=True)
        person.set_password(SECRETS["password"])
        person.save()
    answer = http.post(
        "/api/work-orders/start",
        json={"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": 0},
        headers={"X-Request-ID": "night-17", "Cookie": f"sessionid={SECRETS['cookie']}"},
    )
    assert answer.headers["X-Request-ID"] == "night-17"
    run_id = answer.json()["runId"]
    body = {"status": "success", "costUsd": "1"}  # an overrun: two events
    http.post(
        f"/api/work-orders/runs/{run_id}/finish", json=body, headers={"X-Request-ID": "night-18"}
    )
    for request_id, kinds in (
        ("night-17", ["WORK_ORDER_START"]),
        ("night-18", ["RUN_FINISHED", "RUN_OVERRUN"]),
    ):
        rows = two.sql(
            "SELECT kind FROM operations_events WHERE request_id = %s ORDER BY kind", request_id
        )
        assert [kind for (kind,) in rows] == kinds

    http.get(f"/api/work-orders?token={SECRETS['query']}")
    http.get(f"/api/operations-events?since={SECRETS['query']}&api_key={SECRETS['query']}")
    http.get(f"/api/work-orders/{SECRETS['path']}")
    http.get(f"/nowhere/{SECRETS['path']}?x={SECRETS['query']}")
    http.post("/api/work-orders/start", json={"workOrderId": SECRETS["body"], "x": SECRETS["body"]})
    http.post("/api/work-orders/start", content=SECRETS["body"].encode())
    for headers in (
        {"Authorization": f"Bearer {SECRETS['garbage']}"},
        {"Authorization": "", "X-Api-Key": SECRETS["garbage"]},
        {"Authorization": f"Basic {SECRETS['garbage']}"},
    ):
        assert http.get("/api/work-orders", headers=headers).status_code == 401
    sign_in(two, SECRETS["password"])
    sign_in(two, SECRETS["password"] + "-wrong")

    http.get("/healthz", headers={"X-Request-ID": "the-last"})
    for _ in range(100):
        if any("the-last" in line for line in two.lines):
            break
    lines = [json.loads(line) for line in list(two.lines)]
    started = [line for line in lines if line.get("request_id") == "night-17"]
    assert [(line["route"], line["status"]) for line in started] == [
        ("/api/work-orders/start", 201)
    ]
    text = "".join(two.lines)
    for name, secret in (SECRETS | two.tokens).items():
        assert secret not in text, name
    assert two.errors() == []


def sign_in(two: Api, password: str) -> None:
    """At the admin's door, as a browser does it."""
    with httpx2.Client(base_url=two.service.url, timeout=HANG_SECONDS) as browser:
        browser.get("/account/login/")
        form = {
            "login": "clerk",
            "password": password,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        browser.post("/account/login/", data=form, headers={"Referer": two.service.url})


def test_docs_render_from_here_alone(two: Api) -> None:
    asked: list[str] = []
    results: list[str] = []
    with chromium() as browser:
        page = empty_window(browser)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: results.append(message.text))
        page.on("pageerror", lambda error: results.append(str(error)))
        page.goto(f"{two.service.url}/api/docs")
        page.wait_for_selector("#operations-spending-work_order_start")
        page.click("#operations-spending-work_order_start .opblock-summary")
        page.wait_for_selector("text=estimatedCostUsd")
        assert page.locator(".opblock").count() >= 9
    foreign = [url for url in asked if not url.startswith((two.service.url, "data:"))]
    assert foreign == []
    assert results == []
