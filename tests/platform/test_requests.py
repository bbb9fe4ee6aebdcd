"""What holds for every answer: request id, log line, content security policy; and readiness."""

import json
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.test import Client, RequestFactory
from django.urls import URLResolver, get_resolver
from rest_framework.views import APIView

from budgets.api.sessions import PersonInSession
from budgets.api.views import StartView, UsageView
from config.answers import WholeAnswers
from config.middleware import is_for_programs
from config.run.scratch import ScratchService, owner_sql, scratch_service
from tests.waiting import HANG_SECONDS, in_time, wait_until

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
    policy = client.get("/account/login/")["Content-Security-Policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self' 'unsafe-eval'"
    assert "frame-ancestors 'none'" in policy


def api_views(patterns: Sequence[Any], prefix: str = "/") -> Iterator[tuple[str, Any]]:
    """Every view of the API with its address."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from api_views(pattern.url_patterns, prefix + str(pattern.pattern))
        elif issubclass(getattr(pattern.callback, "view_class", object), APIView):
            yield prefix + str(pattern.pattern), pattern.callback


def test_only_views_that_read_no_session_go_past_sessions() -> None:
    views = dict(api_views(get_resolver().url_patterns))
    for_people = {path for path, view in views.items() if not is_for_programs(view)}
    assert for_people == {
        "/api/docs",
        "/api/llm/killswitch",
        "/api/cap-changes",
        "/api/cap-changes/<id:change_id>",
        "/api/cap-changes/<id:change_id>/decision",
        "/api/cap-changes/<id:change_id>/cancel",
        "/api/cap-changes/<id:change_id>/edit",
    }
    assert is_for_programs(views["/api/work-orders/start"])
    people = UsageView.as_view(authentication_classes=(PersonInSession,))
    assert not is_for_programs(people)
    assert not is_for_programs(lambda request: HttpResponse())


def test_the_form_of_the_documentation_has_a_token_that_counts(client: Client) -> None:
    script = client.get("/api/docs?script=")
    held = client.cookies["csrftoken"].value
    text = re.search(r'request.headers\["[^"]+"\] = "(\w+)"', script.content.decode())
    assert text
    asked = RequestFactory().post("/", headers={"X-CSRFToken": text[1]})
    asked.COOKIES["csrftoken"] = held
    assert (
        CsrfViewMiddleware(lambda request: HttpResponse()).process_view(
            asked, lambda request: HttpResponse(), (), {}
        )
        is None
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/work-orders/start", 401),
        ("/api/operations-events", 401),
        ("/api/cap-changes/1/cancel", 403),
        ("/api/nowhere", 404),
    ],
)
def test_what_every_answer_needs_holds_for_programs_too(
    client: Client, path: str, status: int
) -> None:
    answer = client.post(path, {}, content_type="application/json")
    assert answer.status_code == status
    assert "error" in answer.json()
    assert re.fullmatch(r"[0-9a-f]{16}", answer["X-Request-ID"])
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert int(answer["Content-Length"]) == len(answer.content)
    assert client.post(path, {}, headers={"Host": "elsewhere.example"}).status_code == 400


@pytest.mark.django_db
def test_a_failure_of_a_view_for_programs_is_told_and_logged(
    client: Client,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StartView, "post", lambda self, request: 1 / 0)
    client.raise_request_exception = False
    answer = client.post(
        "/api/work-orders/start",
        {},
        content_type="application/json",
        headers={"X-Api-Key": "tg_any"},
    )
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "an error of ours; it was logged"},
    )
    assert "ZeroDivisionError" in caplog.text
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["request_id"] == answer["X-Request-ID"]
    assert (line["route"], line["status"]) == ("/api/work-orders/start", 500)
    answer = client.get("/api/work-orders/start", headers={"X-Api-Key": "tg_any"})
    assert answer.status_code == 405


def test_programs_open_no_session(client: Client, db: None) -> None:
    client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
    answer = client.post("/api/work-orders/start", {}, content_type="application/json")
    assert not hasattr(answer.wsgi_request, "session")
    answer = client.get("/api/cap-changes")
    assert hasattr(answer.wsgi_request, "session")


class Answering(WSGIHandler):
    def __init__(self, answer: HttpResponseBase) -> None:
        self.answer = answer

    def __call__(self, environ: dict[str, Any], start_response: Any) -> HttpResponseBase:
        return self.answer


@pytest.mark.django_db
@pytest.mark.parametrize("answer", [HttpResponse(b"ab"), StreamingHttpResponse([b"a", b"b"])])
def test_only_a_stream_is_handed_over_piece_by_piece(answer: HttpResponseBase) -> None:
    given = WholeAnswers(Answering(answer))({}, None)
    assert isinstance(given, list) is not answer.streaming
    assert answer.closed is not answer.streaming
    assert b"".join(given) == b"ab"


# In which /readyz answers, whatever its database does.
ANSWER_SECONDS = 3


def readiness(url: str) -> tuple[int, dict[str, dict[str, str]]]:
    try:
        with urlopen(f"{url}/readyz", timeout=HANG_SECONDS) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def lonely(pristine_database: str) -> Iterator[ScratchService]:
    """A service whose database this module takes away."""
    with scratch_service(template=pristine_database, workers=1) as running:
        yield running


def test_readyz_without_worker_then_without_database(lonely: ScratchService) -> None:
    def reasons() -> dict[str, str]:
        """By check that failed. A database that is slow to answer is one, for a while."""
        status, body = in_time(ANSWER_SECONDS, lambda: readiness(lonely.url))
        assert status == 503
        return {name: part["reason"] for name, part in body.items() if part["status"] != "ok"}

    not_yet = {"worker": "the job worker has not reported yet"}
    wait_until(lambda: reasons() == not_yet)
    owner_sql("DROP DATABASE {} WITH (FORCE)", lonely.database)
    wait_until(lambda: lonely.database in reasons().get("database", ""))
    assert set(reasons()) == {"database", "migrations", "routines", "environment", "worker"}
    assert urlopen(f"{lonely.url}/healthz", timeout=HANG_SECONDS).status == 200


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
                status, body = in_time(ANSWER_SECONDS, lambda: readiness(service.url))
                assert status == 503
                assert body["database"]["status"] == "failed"
        for connection in held:
            connection.close()


def test_the_service_serves_static_files(service: ScratchService) -> None:
    page = urlopen(f"{service.url}/account/login/", timeout=HANG_SECONDS).read().decode()
    sheet = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert sheet
    with urlopen(Request(f"{service.url}{sheet[1]}"), timeout=HANG_SECONDS) as answer:
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
