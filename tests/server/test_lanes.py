"""Which processes answer which address, and what a caller must bring."""

from uuid import uuid4

import pytest

from config.server.lanes import Lane, Needs, is_plausible, most_body, place, remembered
from opslog.database import authority
from tests import factories
from tests.access import walking
from tests.admin.scene import make_scene
from workorders import tokens

RUN = "/api/work-orders/runs/1b4e28ba-2fa1-11d2-883f-0016d3cca427"
# By name, so that a new view of the API has to be thought about when it wants to be here.
DECIDES = {
    *("work-order-start", "run-finish", "run-extend", "preflight", "llm-check", "llm-spend"),
    *("killswitch", "healthz", "readyz"),
}


@pytest.mark.parametrize(
    ("path", "lane", "needs", "for_programs"),
    [
        ("/api/work-orders/start", Lane.DECISIONS, Needs.TOKEN, True),
        (f"{RUN}/finish", Lane.DECISIONS, Needs.TOKEN, True),
        ("/v1/llm/spend", Lane.DECISIONS, Needs.TOKEN, True),
        ("/api/llm/killswitch", Lane.DECISIONS, Needs.TOKEN_OR_SESSION, True),
        ("/healthz", Lane.DECISIONS, Needs.NOTHING, True),
        ("/metrics", Lane.OTHER, Needs.NOTHING, True),
        ("/api/work-orders", Lane.OTHER, Needs.TOKEN, True),
        ("/api/inference-events", Lane.OTHER, Needs.TOKEN, True),
        ("/v1/traces", Lane.OTHER, Needs.TOKEN, True),
        ("/api/cap-changes/1/decision", Lane.OTHER, Needs.TOKEN_OR_SESSION, False),
        ("/api/schema", Lane.OTHER, Needs.NOTHING, True),
        ("/api/docs", Lane.OTHER, Needs.NOTHING, False),
        ("/admin/", Lane.OTHER, Needs.NOTHING, False),
        ("/account/login/", Lane.OTHER, Needs.NOTHING, False),
        ("/ops-dashboard", Lane.OTHER, Needs.NOTHING, False),
        ("/static/x.css", Lane.OTHER, Needs.NOTHING, False),
        ("/", Lane.OTHER, Needs.NOTHING, False),
        ("/nowhere", Lane.OTHER, Needs.NOTHING, False),
        ("/api/nowhere", Lane.OTHER, Needs.NOTHING, True),
        ("/api/work-orders/start/", Lane.OTHER, Needs.NOTHING, True),
        ("*", Lane.OTHER, Needs.NOTHING, False),
        ("/" + "x" * 5000, Lane.OTHER, Needs.NOTHING, False),
        ("/api/\ufffd\x00", Lane.OTHER, Needs.NOTHING, True),
    ],
)
def test_place(path: str, lane: Lane, needs: Needs, for_programs: bool) -> None:
    assert place(path)[:3] == (lane, needs, for_programs)


def test_all_runs_are_in_one_place() -> None:
    remembered.cache_clear()
    for _ in range(3):
        assert place(f"/api/work-orders/runs/{uuid4()}/finish").lane is Lane.DECISIONS
    assert remembered.cache_info().misses == 1


def test_what_decides_is_a_closed_list(db: None) -> None:
    scene = make_scene()
    found = {
        address.name or address.route
        for address in walking.addresses()
        if place(address.path(scene))[0] is Lane.DECISIONS
    }
    assert found == DECIDES


@pytest.mark.parametrize(
    ("needs", "token", "cookie", "plausible"),
    [
        (Needs.NOTHING, False, "", True),
        (Needs.TOKEN, True, "", True),
        (Needs.TOKEN, False, "sessionid=abc", False),
        (Needs.TOKEN_OR_SESSION, False, "sessionid=abc", True),
        (Needs.TOKEN_OR_SESSION, True, "", True),
        (Needs.TOKEN_OR_SESSION, False, "other=abc", False),
    ],
)
def test_plausible(needs: Needs, token: bool, cookie: str, plausible: bool) -> None:
    assert is_plausible(needs, token, {"HTTP_COOKIE": cookie}) is plausible


def test_how_much_is_taken() -> None:
    nobody = most_body(False, {})
    program = most_body(True, {})
    person = most_body(False, {"HTTP_COOKIE": "sessionid=abc"})
    assert nobody == 65_536 < program < person


def test_every_token_has_the_form_of_one(db: None) -> None:
    for _ in range(50):
        assert tokens.plausible(factories.make_token(["read"])[1])
    for text in ("", "tg_", "tg", "xx_abc", "tg_" + "x" * 98, "tg_ä", "tg_a b", "tg_a\n", " tg_a"):
        assert not tokens.plausible(text), text


def test_the_answer_to_what_is_no_token_is_that_to_an_unknown_one(db: None) -> None:
    result = authority.fetch_row("SELECT * FROM tollgate.token_answer_v1('unknown')", [])
    unknown = tokens.UNKNOWN
    assert result == (unknown.status, unknown.denial, unknown.error)
