"""What holds for every answer: request id, log line, content security policy; and readiness."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.test import Client

from config.scratch import ScratchService, owner_sql, scratch_service

TOKEN = "tg_never-to-be-logged"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a-Request_1.2", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("two words", False),
        ('"quoted"', False),
        ("ü", False),
        ("", False),
    ],
)
def test_request_id(client: Client, given: str, kept: bool) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": given})
    if kept:
        assert answer["X-Request-ID"] == given
    else:
        assert re.fullmatch(r"[0-9a-f]{16}", answer["X-Request-ID"])


def test_one_line_per_request_without_secrets(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.get(
        f"/healthz?token={TOKEN}",
        headers={"X-Request-ID": "r1", "Authorization": f"Bearer {TOKEN}", "Cookie": f"a={TOKEN}"},
    )
    client.get(f"/nowhere/{TOKEN}")
    printed = capsys.readouterr().err
    assert TOKEN not in printed
    served, unknown = map(json.loads, printed.splitlines())
    assert served["request_id"] == "r1"
    assert (served["method"], served["route"], served["status"]) == ("GET", "/healthz", 200)
    assert 0 <= served["duration_ms"] < 1000
    assert (unknown["route"], unknown["status"]) == ("unmatched", 404)


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/healthz", "default-src 'none'; frame-ancestors 'none'"),
        ("/nowhere", "default-src 'none'; frame-ancestors 'none'"),
    ],
)
def test_machines_get_the_strictest_policy(client: Client, path: str, policy: str) -> None:
    assert client.get(path)["Content-Security-Policy"] == policy


@pytest.mark.django_db
def test_only_pages_of_the_admin_may_evaluate(client: Client) -> None:
    policy = client.get("/admin/login/")["Content-Security-Policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self' 'unsafe-eval'"
    assert "frame-ancestors 'none'" in policy


def readiness(url: str) -> tuple[int, dict[str, dict[str, str]]]:
    try:
        with urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def lonely(pristine_database: str) -> Iterator[ScratchService]:
    """A service whose database this module takes away."""
    with scratch_service(template=pristine_database, workers=1) as running:
        yield running


def test_readyz_without_worker_then_without_database(lonely: ScratchService) -> None:
    status, body = readiness(lonely.url)
    assert status == 503
    assert body["database"] == body["migrations"] == {"status": "ok"}
    assert body["worker"]["reason"] == "the job worker has not reported yet"

    owner_sql("DROP DATABASE {} WITH (FORCE)", lonely.database)
    begun = time.monotonic()
    status, body = readiness(lonely.url)
    assert status == 503
    assert {part["status"] for part in body.values()} == {"failed"}
    assert lonely.database in body["database"]["reason"]
    assert time.monotonic() - begun < 3
    assert urlopen(f"{lonely.url}/healthz", timeout=5).status == 200


def test_readyz_answers_in_time_when_the_database_hangs(pristine_database: str) -> None:
    """A listener that accepts and never speaks, as a host does that lost its network."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(silent.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        url = f"postgres://me:me@127.0.0.1:{silent.getsockname()[1]}/nothing"
        with scratch_service(
            template=pristine_database, workers=1, env={"DATABASE_URL": url}
        ) as service:
            for _ in range(2):
                begun = time.monotonic()
                status, body = readiness(service.url)
                assert status == 503
                assert body["database"]["status"] == "failed"
                assert time.monotonic() - begun < 3
        for connection in held:
            connection.close()


def test_the_service_serves_static_files(service: ScratchService) -> None:
    page = urlopen(f"{service.url}/admin/login/", timeout=10).read().decode()
    sheet = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert sheet
    with urlopen(Request(f"{service.url}{sheet[1]}"), timeout=10) as answer:
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
