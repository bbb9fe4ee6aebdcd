"""The day's budget, advice, reported spend, kill switch, features and pre-flight over real HTTP."""

import os
import subprocess
import sys
from collections import Counter as Tally
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_django import DjangoDbBlocker

from budgets.admission import counters, direct_spend
from budgets.controls import breaker
from budgets.models import Budget, CircuitBreaker, DirectSpend
from tests import factories
from tests.api.harness import Api, api_service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shipped(
    pristine_database: str, django_db_blocker: DjangoDbBlocker, request: pytest.FixtureRequest
) -> Iterator[Api]:
    """With the limits as shipped; its parameter is the number of workers."""
    workers = getattr(request, "param", 1)
    with api_service(pristine_database, django_db_blocker, workers=workers, room=False) as api:
        yield api


@pytest.fixture
def http(shipped: Api) -> Iterator[httpx2.Client]:
    with shipped.client() as client:
        yield client


def spend(client: httpx2.Client, usd: str, key: str = "", **more: Any) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/llm/spend", json={"costUsd": usd, **more}, headers=headers)


def day(client: httpx2.Client) -> dict[str, Any]:
    return dict(client.get("/v1/admin/llm-budget").raise_for_status().json())


@pytest.mark.parametrize(
    ("spent", "status", "message", "remaining"),
    [
        ("15.25", "OK", "Budget OK: $15.25 / $50.00", 34.75),
        ("19.99", "OK", "Budget OK: $19.99 / $50.00", 30.01),
        ("20.00", "WARNING", "Budget warning: $20.00 / $50.00", 30.0),
        ("22.00", "WARNING", "Budget warning: $22.00 / $50.00", 28.0),
        ("49.99", "WARNING", "Budget warning: $49.99 / $50.00", 0.01),
        ("50.00", "BLOCKED", "Hard limit reached: $50.00", 0.0),
        ("52.00", "BLOCKED", "Hard limit reached: $52.00", 0.0),
    ],
)
def test_the_day_in_words(spent: str, status: str, message: str, remaining: float) -> None:
    result = direct_spend.DayStatus("2026-01-01", Decimal(spent), Decimal(20), Decimal(50))
    assert (result.status, result.message) == (status, message)
    assert float(result.remaining_usd or 0) == remaining
    assert result.blocked is (status == "BLOCKED")
    assert result.warning is (status != "OK")


def test_spend_is_recorded_over_the_limit_and_blocks(shipped: Api, http: httpx2.Client) -> None:
    assert day(http) == {
        "date": day(http)["date"],
        "current_spend_usd": 0.0,
        "reserved_usd": 0.0,
        "warning_threshold_usd": 20.0,
        "hard_limit_usd": 50.0,
        "remaining_usd": 50.0,
        "status": "OK",
        "warning": False,
        "blocked": False,
        "message": "Budget OK: $0.00 / $50.00",
        "redis_unavailable": False,
    }
    body = spend(http, "52", surface="cli").json()
    assert (body["status"], body["remainingUsd"]) == ("BLOCKED", "0.00")
    now = day(http)
    assert (now["status"], now["remaining_usd"], now["blocked"]) == ("BLOCKED", 0.0, True)
    assert shipped.start(http).status_code in (429, 503)
    advice = http.post("/v1/llm/check", json={"estimatedCostUsd": "0.01"}).json()
    assert advice["allowed"] is False
    assert spend(http, "1").status_code == 200  # it was spent
    assert day(http)["current_spend_usd"] == 53.0


@pytest.mark.parametrize("shipped", [2], indirect=True)
def test_fifty_duplicates_are_one_spend(
    shipped: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    def one(_: int) -> Any:
        with shipped.client() as client:
            answer = spend(client, "0.01", key="once")
            return answer.status_code, answer.json()["spendId"]

    with ThreadPoolExecutor(16) as pool:
        answers = Tally(pool.map(one, range(50)))
    assert list(answers.values()) == [50]
    assert spend(http, "0.02", key="once").status_code == 422
    with factories.inside(shipped.service.database, django_db_blocker):
        assert DirectSpend.objects.count() == 1
        assert not list(counters.differences())


def test_spend_by_usage_counts_tokens_and_users(
    shipped: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    usage = {"model": "gpt-4o-mini", "inputTokens": 90_000, "outputTokens": 9_000}
    response = http.post("/v1/llm/spend", json={"usage": usage, "userId": "u-1"}).json()
    assert response["costUsd"] == "0.0189"
    asked = {"model": "gpt-4o-mini", "estimatedInputTokens": 2_000, "userId": "u-1"}
    advice = http.post("/v1/llm/check", json=asked).json()
    assert (advice["allowed"], advice["denial"]) == (False, "user_quota")
    assert http.post("/v1/llm/check", json={**asked, "userId": "u-2"}).json()["allowed"]
    unknown = {"model": "nobody-priced-this", "inputTokens": 1, "outputTokens": 1}
    assert http.post("/v1/llm/spend", json={"usage": unknown}).status_code == 422
    with factories.inside(shipped.service.database, django_db_blocker):
        assert not list(counters.differences())


def test_spend_trips_the_breaker(
    shipped: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    spend(http, "5.01")
    with factories.inside(shipped.service.database, django_db_blocker):
        assert CircuitBreaker.objects.get(scope="global").state == "open"
        breaker.reset("global", "", reason="over", by="test")


def test_who_may(shipped: Api) -> None:
    with shipped.client("read") as reader, shipped.client("killswitch") as stopper:
        assert reader.get("/v1/admin/llm-budget").status_code == 403
        assert reader.get("/api/burn-rate").status_code == 200
        assert stopper.get("/api/burn-rate").status_code == 403
        ask = {"scope": "Global", "enabled": True, "reason": "x"}
        assert stopper.post("/api/llm/killswitch", json=ask).status_code == 403
        assert reader.post("/api/llm/killswitch", json=ask).status_code == 403
        one = {**ask, "scope": "Identity", "target": "u-1"}
        answer = stopper.post("/api/llm/killswitch", json=one)
        assert answer.status_code == 200
        assert answer.json()["target"] == "user:u-1"
        assert answer.json()["matchingRuns24h"] == 0
    with shipped.client(None) as stranger:
        for path in ("/v1/admin/llm-budget", "/api/burn-rate", "/api/llm/killswitch"):
            assert stranger.get(path).status_code == 401
        assert stranger.post("/v1/llm/spend", json={"costUsd": "1"}).status_code == 401


def test_running_work_is_told_to_stop(shipped: Api, http: httpx2.Client) -> None:
    run = shipped.start(http, userId="u-9", estimatedCostUsd="0.01").json()["runId"]
    stop = {"scope": "Identity", "target": "user:u-9", "enabled": True, "reason": "a loop"}
    answer = http.post("/api/llm/killswitch", json=stop).json()
    assert (answer["matchingRuns24h"], answer["runningNow"]) == (1, 1)
    response = http.post(f"/api/work-orders/runs/{run}/extend", json={})
    assert (response.status_code, response.headers["Tollgate-Denial"]) == (403, "kill_switch")
    response = shipped.start(http, userId="u-9", estimatedCostUsd="0.01")
    assert (response.status_code, response.headers["Tollgate-Denial"]) == (403, "kill_switch")
    finished = {"status": "cancelled", "costUsd": "0"}
    assert http.post(f"/api/work-orders/runs/{run}/finish", json=finished).status_code == 200


def test_the_levers_are_the_documented_ones(http: httpx2.Client) -> None:
    found = http.get("/api/features/unknown-feature").json()
    assert found["registered"] is False
    assert found["enabled"] is True
    assert found["levers"] == {
        "maxRounds": 5,
        "maxContextMessages": 10,
        "maxToolRetries": 2,
        "autoSaveIntervalMs": 30000,
        "undoRateLimit": "3/minute",
        "roundTimeoutMs": 30000,
        "totalTimeoutMs": 60000,
        "maxToolResultBytes": 8192,
        "toolBreaker": {"failures": 3, "seconds": 60},
        "substituteModel": None,
        "mockProvider": False,
        "clarification": False,
    }


def test_a_batch_is_looked_at(shipped: Api, http: httpx2.Client) -> None:
    task = {"workOrderId": "nightly-digest", "name": "Digest", "estimatedCostUsd": "0.60"}
    found = http.post("/api/work-orders/preflight", json={"tasks": [task] * 4}).json()
    assert [each["decision"] for each in found["tasks"]] == ["admit", "admit", "admit", "refuse"]
    assert found["tasks"][3]["reason"] == "usd_per_day"
    assert found["summary"]["estimatedUsd"] == "2.40"
    assert found["passed"] is True  # a warning
    answer = http.post("/api/work-orders/preflight", json={"tasks": [task] * 12})
    assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (428, "confirm")
    many = {"tasks": [task] * 60, "confirm": True}
    found = http.post("/api/work-orders/preflight", json=many).json()
    failed = {each["name"]: each["severity"] for each in found["checks"] if not each["passed"]}
    assert failed == {
        "tasks": "error",
        "estimated_cost": "warning",
        "budget_left": "error",
        "limits": "warning",
    }
    assert found["passed"] is False
    bad = {"tasks": [{**task, "surprise": 1}]}
    answer = http.post("/api/work-orders/preflight", json=bad)
    assert answer.status_code == 400
    assert "surprise" in answer.text


def manage(
    shipped: Api, *argv: str, typed: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *argv],
        cwd=ROOT,
        env={**os.environ, **shipped.service.env, **env},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands(shipped: Api, http: httpx2.Client, tmp_path: Path) -> None:
    stop = ("killswitch", "on", "surface", "chat", "--reason", "spike")
    assert manage(shipped, *stop).returncode == 1  # nobody there to confirm
    assert manage(shipped, *stop, "--yes").returncode == 0
    assert shipped.start(http, surface="chat").headers["Tollgate-Denial"] == "kill_switch"
    assert "ON" in manage(shipped, "killswitch", "list").stdout
    assert manage(shipped, "killswitch", "off", "surface", "chat", "--reason", "x").returncode == 0
    assert manage(shipped, "breaker", "trip", "--reason", "fire").returncode == 0
    assert shipped.start(http).headers["Tollgate-Denial"] == "breaker_open"
    assert "open" in manage(shipped, "breaker", "show").stdout
    assert manage(shipped, "breaker", "reset", "--reason", "out").returncode == 0
    shown = manage(shipped, "llm_budget", "check").stdout
    assert shown.splitlines()[-1] == "Budget OK: $0.00 / $50.00"
    names = {line.split()[0] for line in shown.splitlines()[:-1]}
    assert names | {"message"} == set(day(http))
    batch = tmp_path / "batch.csv"
    batch.write_text(
        "workOrderId,name,estimatedCostUsd\nnightly-digest,Latest news,0.10\n", encoding="utf-8"
    )
    good = manage(shipped, "preflight", str(batch))
    assert good.returncode == 0, good.stderr
    assert "Ready to start" in good.stdout
    batch.write_text('[{"workOrderId": "nightly-digest", "name": "TestRun_2"}]', encoding="utf-8")
    assert manage(shipped, "preflight", str(batch)).returncode == 1
    assert manage(shipped, "preflight", str(batch), "--yes").returncode == 0
    batch.write_text('[{"workOrderId": "nightly-digest", "nmae": "x"}]', encoding="utf-8")
    assert "nmae" in manage(shipped, "preflight", str(batch)).stderr


def test_another_environment_does_not_start(shipped: Api) -> None:
    other = {"ENVIRONMENT": "production"}
    refused = manage(shipped, "check", "--database", "default", **other)
    assert refused.returncode == 1
    assert "development" in refused.stderr
    stamped = manage(shipped, "stamp_environment", "production", "--reason", "it is", **other)
    assert stamped.returncode == 0, stamped.stderr
    assert manage(shipped, "check", "--database", "default", **other).returncode == 0
    back = manage(shipped, "stamp_environment", "development", "--reason", "it was not", **other)
    assert back.returncode == 0, back.stderr
    rows = shipped.sql(
        "SELECT owner_type, meta FROM operations_events WHERE kind = 'ENVIRONMENT_STAMPED'"
        " ORDER BY id DESC LIMIT 2"
    )
    assert rows == [
        ("", {"old": "production", "new": "development", "reason": "it was not"}),
        ("", {"old": "development", "new": "production", "reason": "it is"}),
    ]


def test_the_scenarios_are_played_elsewhere(shipped: Api, http: httpx2.Client) -> None:
    """Each ends at what the day allows, not at the breaker or the hour, which would come first."""
    found = manage(shipped, "llm_budget", "full")
    assert found.returncode == 0, found.stderr
    for line, item, advice in zip(
        found.stdout.splitlines(),
        (
            "OK       Budget OK: $5.00 / $50.00",
            "WARNING  Budget warning: $22.00 / $50.00",
            "BLOCKED  Hard limit reached: $52.00",
        ),
        ("advised", "advised", "budget:global:day"),
        strict=True,
    ):
        assert item in line
        assert line.endswith(f"one more call: {advice}")
    assert day(http)["current_spend_usd"] == 0.0


def test_what_is_reserved_is_beside_what_remains(shipped: Api, http: httpx2.Client) -> None:
    """$7.26 spent and $0.02 reserved of $50: $42.74 remain, and $42.73 would not fit."""
    with shipped.client() as client:
        assert spend(client, "7.26").status_code == 200
    assert manage(shipped, "breaker", "reset", "--reason", "test").returncode == 0
    shipped.sql("UPDATE budgets SET amount = NULL WHERE scope = 'global' AND \"window\" <> 'day'")
    assert shipped.start(http, estimatedCostUsd="0.02").status_code == 201
    now = day(http)
    assert (now["remaining_usd"], now["reserved_usd"]) == (42.74, 0.02)
    for usd, fits in (("42.72", True), ("42.73", False), ("0", True), (None, True)):
        asked = {} if usd is None else {"estimatedCostUsd": usd}
        advice = http.post("/v1/llm/check", json=asked).json()
        assert (advice["fits"], advice["allowed"]) == (fits, fits)
        assert (advice["remainingUsd"], advice["reservedUsd"]) == ("42.74", "0.02")
    shipped.sql("UPDATE budgets SET amount = 7.28 WHERE scope = 'global' AND \"window\" = 'day'")
    advice = http.post("/v1/llm/check", json={"estimatedCostUsd": "0"}).json()
    assert (advice["fits"], advice["denial"]) == (False, "budget:global:day")


def test_limits_that_are_off_are_none(
    shipped: Api, http: httpx2.Client, django_db_blocker: DjangoDbBlocker
) -> None:
    with factories.inside(shipped.service.database, django_db_blocker):
        Budget.objects.filter(scope="global", window="day").update(amount=None)
    now = day(http)
    assert (now["hard_limit_usd"], now["remaining_usd"], now["blocked"]) == (None, None, False)
