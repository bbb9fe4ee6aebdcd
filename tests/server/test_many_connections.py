"""What one address, and whoever sends nothing, may hold: by raw sockets, on a patient server."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pytest_django import DjangoDbBlocker

from tests.api.harness import Api, api_service
from tests.server.raw import ASK, START, Raw, bearer, head, start

MANY = 60  # more than all threads of all processes


@pytest.fixture(scope="module")
def patient(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """One that waits longer than any test, for few connections of an address."""
    env = {"REQUEST_TIMEOUT": "120", "CONNECTIONS_PER_ADDRESS": str(MANY + 4)}
    with api_service(pristine_database, django_db_blocker, env=env) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "token", "length"),
    [
        (START, "start", 100),
        (START, "start", 5_000_000),
        ("/api/inference-events", "ingest", 5_000_000),
        ("/account/login/", None, 100),
        ("/nowhere", None, 100),
    ],
)
def test_bodies_that_never_come_hold_nobody_up(
    patient: Api, path: str, token: str | None, length: int
) -> None:
    """Each is announced, plausible, and without an end."""
    headers = {**(bearer(patient.tokens[token]) if token else {}), "Content-Length": str(length)}
    with ExitStack() as held:
        for _ in range(MANY):
            connection = held.enter_context(Raw(patient.service.url, "127.0.0.7"))
            connection.send(head("POST", path, headers) + b"{")
        assert start(patient) == 201
        with Raw(patient.service.url) as other:
            assert other.ask("GET", "/healthz").status == 200
            assert other.ask("GET", "/account/login/").status == 200
            assert (
                other.ask("GET", "/api/work-orders", bearer(patient.tokens["read"])).status == 200
            )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (START, {}),
        (START, {"Authorization": "Bearer nonsense"}),
        (START, {"Authorization": "Bearer tg_" + "x" * 98}),
        (START, {"X-Api-Key": "tg_ä"}),
        (START, {"Authorization": "Basic dGc6dGc="}),
        ("/api/inference-events", {}),
        ("/v1/traces", {"Cookie": "sessionid=1"}),
        ("/v1/llm/spend", {"Cookie": "sessionid=1"}),
        ("/api/llm/killswitch", {}),
        ("/api/cap-changes/1/decision", {"Cookie": "other=1"}),
    ],
)
def test_who_cannot_be_anybody_is_told_so_before_the_body(
    patient: Api, path: str, headers: dict[str, str]
) -> None:
    for length in (100, 50_000_000):
        with Raw(patient.service.url) as connection:
            connection.send(
                head(
                    "POST",
                    path,
                    {**headers, "Content-Length": str(length), "Expect": "100-continue"},
                )
            )
            assert connection.answer().status in (401, 403)


def test_connections_of_one_address(patient: Api) -> None:
    """All in use by good tokens: one more is one too many, until one of them ends."""
    ours = bearer(patient.tokens["start"])
    with ExitStack() as held:
        for _ in range(MANY + 4):
            connection = held.enter_context(Raw(patient.service.url, "127.0.0.8"))
            assert connection.ask("POST", START, ours, ASK).status == 201
        with Raw(patient.service.url, "127.0.0.8") as over:
            answer = over.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert start(patient) == 201  # another address
    assert eventually_200(patient, "127.0.0.8")


def test_the_oldest_of_nobody_goes_first(patient: Api) -> None:
    with ExitStack() as held:
        connections = [
            held.enter_context(Raw(patient.service.url, "127.0.0.4")) for _ in range(MANY + 6)
        ]
        assert connections[-1].ask("GET", "/healthz").status == 200
        assert connections[0].ended()
        assert connections[1].ended()
        assert connections[2].ask("GET", "/healthz").status == 200


def test_idle_strangers_make_room(patient: Api) -> None:
    """Somebody at our own address opens all that there are, and more: a start gets through."""
    with ExitStack() as held:
        good = held.enter_context(Raw(patient.service.url, "127.0.0.5"))
        ours = bearer(patient.tokens["start"])
        assert good.ask("POST", START, ours, ASK).status == 201
        for _ in range(2 * MANY):
            silent = held.enter_context(Raw(patient.service.url, "127.0.0.5"))
            silent.send(head("POST", START, {**ours, "Content-Length": "100"}))
        assert start(patient, "127.0.0.5") == 201
        assert good.ask("POST", START, ours, ASK).status == 201


def eventually_200(api: Api, source: str) -> bool:
    """The server learns of the ends of connections in its own time."""
    while True:
        with Raw(api.service.url, source) as connection:
            if connection.ask("GET", "/healthz").status == 200:
                return True


def test_wrong_tokens_of_one_address(patient: Api) -> None:
    """They are slowed: a good one overtakes them, and the new one of a neighbor gets through."""
    url, ours = patient.service.url, bearer(patient.tokens["start"])
    wrong = head("POST", START, {**bearer("tg_" + "x" * 43), "Content-Length": str(len(ASK))})
    with ExitStack() as held:
        good = held.enter_context(Raw(url, "127.0.0.6"))
        assert good.ask("POST", START, ours, ASK).status == 201
        strangers = [held.enter_context(Raw(url, "127.0.0.6")) for _ in range(MANY - 4)]
        for stranger in strangers:
            stranger.send(wrong + ASK)
        for _ in range(10):
            assert good.ask("POST", START, ours, ASK).status == 201
        new = held.enter_context(Raw(url, "127.0.0.6"))
        read = bearer(patient.tokens["read"])
        assert new.ask("GET", "/api/work-orders", read).status == 200
        assert {stranger.answer().status for stranger in strangers} == {401}


def test_nothing_of_this_was_an_error(patient: Api) -> None:
    assert patient.errors() == []
