"""The port that is for programs alone: the API and the probes as on the other, and no page."""

import socket
from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from config import environment
from config.run import supervisor
from config.run.embedded import free_port
from config.server.reader import NOT_HERE
from tests.access import walking
from tests.admin.scene import make_scene
from tests.api.harness import Api, api_service
from tests.server.raw import ASK, START, Raw, bearer

PAGES = ("/", "/admin/", "/account/login/", "/ops-dashboard", "/ops-logs", "/static/x.css")
PEOPLES = ("/api/docs", "/api/cap-changes", "/favicon.ico", "/nowhere", "/admin")
PROGRAMS = {
    "/healthz": 200,
    "/metrics": 200,
    "/api/schema": 200,
    "/api/work-orders": 200,
    "/api/work-orders/start": 405,
    "/api/nowhere": 404,
}


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    with api_service(pristine_database, django_db_blocker) as running:
        yield running


@pytest.mark.parametrize("path", [*PAGES, *PEOPLES])
def test_what_is_for_people_is_not_there(api: Api, path: str) -> None:
    with Raw(api.service.door_url) as connection:
        answer = connection.ask("GET", path, {"Cookie": "sessionid=abc"})
    assert (answer.status, answer.json) == (NOT_HERE[0], {"error": NOT_HERE[1]})
    assert answer.headers["content-type"] == "application/json"


def test_a_refusal_of_head_has_no_body(api: Api) -> None:
    with Raw(api.service.door_url) as connection:
        answer = connection.ask("HEAD", "/admin/")
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert connection.ended()


def test_nobody_signs_in_there(api: Api) -> None:
    with Raw(api.service.door_url) as connection:
        body = b"login=a&password=b"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert connection.ask("POST", "/account/login/", kind, body).status == 404


@pytest.mark.parametrize(("path", "status"), PROGRAMS.items())
def test_what_is_for_programs_is_on_both(api: Api, path: str, status: int) -> None:
    for url in (api.service.url, api.service.door_url):
        with Raw(url) as connection:
            assert connection.ask("GET", path, bearer(api.tokens["all"])).status == status


def test_one_connection_asks_for_anything_and_stays_on_its_port(api: Api) -> None:
    """It goes to the processes for pages, and comes back."""
    token = bearer(api.tokens["all"])
    with Raw(api.service.door_url) as connection:
        assert connection.ask("POST", START, token, ASK).status == 201
        assert connection.ask("GET", "/api/work-orders", token).status == 200
        assert connection.ask("GET", "/api/schema").status == 200
        assert connection.ask("POST", START, token, ASK).status == 201
        assert connection.ask("GET", "/api/work-orders", token).status == 200
        assert connection.ask("GET", "/admin/").status == 404


def test_only_programs_ask_there(db: None) -> None:
    """Every address but those of the API and the probes is a page's or a session's."""
    from config.server.lanes import place

    scene = make_scene()
    for address in walking.addresses():
        path = address.path(scene)
        if place(path).for_programs:
            assert path.startswith(("/api/", "/v1/", "/healthz", "/readyz", "/metrics")), path


def test_as_shipped_a_taken_port_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second installation on a machine needs one setting, not two; asked for, it must be free."""
    monkeypatch.delenv("DOOR_PORT", raising=False)
    monkeypatch.setenv("PORT", str(free_port()))
    _, least, most = environment.SERVER["DOOR_PORT"]
    monkeypatch.setitem(environment.SERVER, "DOOR_PORT", (str(free_port()), least, most))
    monkeypatch.setattr(supervisor, "DOOR_PORT", int(environment.SERVER["DOOR_PORT"][0]))
    free = supervisor.Supervisor()
    free.settle_door()
    assert free.door_port == supervisor.DOOR_PORT
    with socket.create_server(("127.0.0.1", supervisor.DOOR_PORT)):
        taken = supervisor.Supervisor()
        taken.settle_door()
        assert taken.door_port == 0
        monkeypatch.setenv("DOOR_PORT", str(supervisor.DOOR_PORT))
        with pytest.raises(supervisor.CannotRun, match="make run DOOR_PORT="):
            supervisor.Supervisor().require_ports()


def test_no_word_of_a_port_that_is_the_other_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make run PORT=8001`: the port is taken, by us."""
    monkeypatch.delenv("DOOR_PORT", raising=False)
    monkeypatch.setenv("PORT", str(supervisor.DOOR_PORT))
    one = supervisor.Supervisor()
    one.settle_door()
    one.greet()
    assert "taken" not in capsys.readouterr().out


@pytest.mark.parametrize("value", ["", "0"])
def test_switched_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DOOR_PORT", value)
    off = supervisor.Supervisor()
    off.settle_door()
    assert off.door_port == 0
