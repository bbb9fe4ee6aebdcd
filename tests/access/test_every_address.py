"""Role × address, over every address of the site: it is read from the URL configuration, so that a
new page without a line in `expectations.py` is a failure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from tests import factories
from tests.access import expectations, walking
from tests.access.expectations import (
    ACCOUNT,
    ADMINS_OWN,
    ALL,
    DOOR,
    MACHINES,
    NONE,
    OPEN,
    SCOPES,
)
from tests.admin import permissions
from tests.admin.scene import ROLES, Scene, make_scene

AGENT = "admin:workorders_agent_change"
MAY_CHANGE_AGENTS = permissions.CHANGE["workorders_agent"] | {"root"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LET_IN = (200, 302, 400, 404, 409)  # 302: done, or on to the page that has it
# What somebody would send who means to change something; with a reason, wherever one is asked for.
ANYTHING = {
    "reason": "because",
    "comment": "because",
    "decision": "approve",
    "format": "csv",
    "name": "mine",
    "title": "mine",
    "action": "decide_many",
    "enabled": "false",
    "post": "yes",
    "amount": "1",
    "is_active": "on",
    "username": "mine",
    "shared": "on",
    "minutes": "10",
}


@pytest.fixture
def scene(db: None) -> Scene:
    return make_scene()


def is_login(answer: Any) -> bool:
    return answer.status_code == 302 and (
        "/admin/login/" in answer["Location"] or "/account/login/" in answer["Location"]
    )


def test_every_address_has_a_line() -> None:
    known = {*expectations.pages(), *MACHINES, *OPEN, *ADMINS_OWN, *ACCOUNT, *DOOR}
    found = {address.name for address in walking.addresses()}
    assert found - known == set(), "say in tests/access/expectations.py who may do what there"
    assert known - found == set(), "these are no addresses any more"


def test_no_address_is_there_twice() -> None:
    names = [address.name for address in walking.addresses()]
    assert len(names) == len(set(names))


def right(name: str, method: str, who: str) -> str:
    """What a person has to get: "in", "login", "no" (403 or 405)."""
    page = expectations.pages()[name]
    if who in ("anonymous", "off", "no staff"):
        return "login"
    allowed = page.get if method == "GET" else page.post
    if who == "root":
        return "in" if allowed == ALL and method == "GET" else "any"
    if name.endswith("_history"):
        return "in"  # it only leads on to the events, which have their own check
    return "in" if who in allowed else "no"


@dataclass
class Walk:
    """What somebody's GET and empty POST of every page for people came to, and the tables that
    those of the admin changed."""

    status: dict[tuple[str, str], int] = field(default_factory=dict)  # method, name
    login: set[tuple[str, str]] = field(default_factory=set)
    wrote: dict[str, set[str]] = field(default_factory=dict)  # by method


WALKS: dict[str, Walk] = {}


@pytest.fixture
def walk(who: str, request: pytest.FixtureRequest) -> Walk:
    """One for all tests of the same person: each opens hundreds of pages."""
    if who not in WALKS:
        WALKS[who] = walk_of(request.getfixturevalue("scene"), who)
    return WALKS[who]


def walk_of(scene: Scene, who: str) -> Walk:
    client, found = walking.client_of(scene, who), Walk()
    pages = [each for each in walking.addresses() if each.name in expectations.pages()]
    of_admin = [each for each in pages if each.name.startswith("admin:")]
    for several in (of_admin, [each for each in pages if each not in of_admin]):
        for method in ("GET", "POST"):
            before = walking.rows_of_everything() if several is of_admin else {}
            for address in several:
                # An agent's empty form would switch it off.
                if method == "POST" and address.name == AGENT and who in MAY_CHANGE_AGENTS:
                    continue
                path = address.path(scene)
                answer = client.get(path) if method == "GET" else client.post(path)
                found.status[method, address.name] = answer.status_code
                if is_login(answer):
                    found.login.add((method, address.name))
            if several is of_admin:
                after = walking.rows_of_everything()
                found.wrote[method] = {table for table in after if after[table] != before[table]}
    return found


@pytest.mark.parametrize("who", walking.PEOPLE)
def test_people_and_pages(walk: Walk, who: str) -> None:
    wrong = {}
    for (method, name), status in walk.status.items():
        login, wanted = (method, name) in walk.login, right(name, method, who)
        if not {
            "in": status in LET_IN and not login,
            "login": login,
            "no": status in (403, 405),
            "any": True,
        }[wanted]:
            wrong[f"{method} {name}"] = (status, wanted)
    assert wrong == {}, "\n".join(f"{where}: {what}" for where, what in wrong.items())


@pytest.mark.parametrize("who", [*ROLES, "nobody"])
def test_who_may_open_what(walk: Walk, who: str) -> None:
    """As above, to the letter for the pages of the admin; reading writes nothing."""
    wrong = {}
    for name, allowed in permissions.expected().items():
        right = (200, 302) if who in allowed or name.endswith("_history") else (403,)
        if (status := walk.status["GET", f"admin:{name}"]) not in right:
            wrong[name] = status
    for name in permissions.POST_ONLY:
        if (status := walk.status["GET", f"admin:{name}"]) != 405:
            wrong[name] = status
    assert wrong == {}
    assert walk.wrote["GET"] == set(), "reading wrote something"


@pytest.mark.parametrize("who", [*ROLES, "nobody"])
def test_who_may_post_what(walk: Walk, who: str) -> None:
    """An empty POST: a form's errors where one may, a refusal where not; nothing is written."""
    wrong = {}
    for name, allowed in {**permissions.expected(), **permissions.POST_ONLY}.items():
        model, _, last = name.rpartition("_")
        if last in ("changelist", "history") or name in permissions.GET_ONLY:
            continue
        if model in permissions.READ and last == "change":
            if who in permissions.CHANGE.get(model, NONE):
                continue
            allowed = NONE  # noqa: PLW2901  (reading is not changing)
        right = (200, 302, 409) if who in allowed else (403, 405)
        if (status := walk.status["POST", f"admin:{name}"]) not in right:
            wrong[name] = status
    assert wrong == {}
    # (Whoever may have the triage run now has queued it.)
    queued = (
        {"django_q_ormq"} if who in permissions.POST_ONLY["opslog_incident_run_triage"] else set()
    )
    assert walk.wrote["POST"] == queued


@pytest.mark.parametrize("name", sorted(ACCOUNT))
def test_a_persons_own_account_needs_a_session(scene: Scene, name: str) -> None:
    """Whoever is there sees their own; a stranger, or a token, is sent to sign in."""
    path = next(each.path(scene) for each in walking.addresses() if each.name == name)
    text = factories.make_token(SCOPES, owner=scene.people["root"], name="all")[1]
    somebody = walking.client_of(scene, "nobody")
    before = walking.rows_of_everything()
    for method in ("GET", "POST"):
        for headers in ({}, {"authorization": f"Bearer {text}"}):
            answer = Client().generic(method, path, headers=headers)
            assert is_login(answer) or answer.status_code == 405, (method, answer.status_code)
        status = somebody.generic(method, path).status_code
        assert status in (200, 302, 403, 404, 405), method
    assert walking.rows_of_everything() == before


def send(client: Client, method: str, path: str, body: Any, **headers: str) -> Any:
    data = json.dumps(body) if method != "GET" else ""
    return client.generic(method, path, data, "application/json", headers=headers)


# Who is no staff cannot log in; a session from before that acts at the API until it ends.
AT_THE_API = [*SCOPES, "no such token", *(who for who in walking.PEOPLE if who != "no staff")]


@pytest.mark.parametrize("who", AT_THE_API)
def test_tokens_and_people_at_the_api(committed_db: str, who: str) -> None:
    """Commits are real here: the decision on a start commits by itself."""
    scene = make_scene()
    client, headers = Client(), {}
    if who in walking.PEOPLE:
        client = walking.client_of(scene, who)
    elif who in SCOPES:
        owner = factories.make_user("owner", groups=["operations", "director"])
        text = factories.make_token([who], owner=owner, name=who)[1]
        headers = {"authorization": f"Bearer {text}"}
    else:
        headers = {"authorization": "Bearer tg_0000"}
    wrong = {}
    for address in walking.addresses():
        if address.name not in MACHINES:
            continue
        row, path = MACHINES[address.name], address.path(scene)
        for method in METHODS:
            offered = method in row.scopes or method in row.people
            may = who in row.scopes.get(method, ()) or who in row.people.get(method, ())
            status = send(client, method, path, row.body, **headers).status_code
            unsaid = who == "root" and method in row.people
            if not unsaid and not fits(status, may=may, offered=offered):
                wrong[f"{method} {path}"] = status
    assert wrong == {}


def fits(status: int, *, may: bool, offered: bool) -> bool:
    if not offered:
        return status in (401, 403, 405)
    return status not in (401, 403, 405, 500) if may else status in (401, 403)


def test_tokens_open_no_page(scene: Scene) -> None:
    text = factories.make_token(SCOPES, owner=scene.people["root"], name="all")[1]
    for address in walking.addresses():
        if address.name in expectations.pages():
            answer = send(Client(), "GET", address.path(scene), {}, authorization=f"Bearer {text}")
            assert is_login(answer), address


@pytest.mark.parametrize("name", sorted(OPEN))
def test_open_addresses_change_nothing(db: None, name: str) -> None:
    path = f"/{name}" if name not in ("schema", "docs") else f"/api/{name}"
    before = walking.rows_of_everything()
    for method in METHODS:
        status = Client().generic(method, path).status_code
        assert status in ((200, 302, 503) if method == "GET" else (200, 403, 405)), method
    assert walking.rows_of_everything() == before


@pytest.mark.parametrize("who", ["anonymous", "nobody", "administrator"])
def test_the_way_in_takes_no_link_that_was_not_issued(scene: Scene, who: str) -> None:
    path = next(each.path(scene) for each in walking.addresses() if each.name == "account-link")
    client = walking.client_of(scene, who)
    before = walking.rows_of_everything()
    for method in METHODS:
        answer = client.generic(method, path)
        assert answer.status_code in (200, 403, 405), method
        assert "This link does not work" in answer.content.decode() or answer.status_code > 400
    assert walking.rows_of_everything() == before


def try_everything(scene: Scene, client: Client, methods: Sequence[str]) -> list[str]:
    """Every address, with what might change something; gives what answered with a success."""
    done = []
    for address in walking.addresses():
        if address.name in ("admin:logout", "admin:login", *ACCOUNT, *DOOR):
            continue
        path = address.path(scene)
        body = MACHINES[address.name].body if address.name in MACHINES else ANYTHING
        for method in methods:
            answers = [client.generic(method, path, json.dumps(body), "application/json")]
            if method == "POST":
                form = "application/x-www-form-urlencoded"
                answers += [client.generic(method, path, "", form), client.post(path, ANYTHING)]
            for answer in answers:
                if answer.streaming:
                    answer.getvalue()
                if answer.status_code < 300:
                    done.append(f"{method} {address.name}")
    return done


def test_the_auditor_changes_nothing_anywhere(committed_db: str) -> None:
    """Of all tables only the log has more rows: those that tell of the auditor's exports."""
    scene = make_scene()
    client = walking.logged_in(scene.people["auditor"])
    before = walking.rows_of_everything(without="OPS_LOG_EXPORT")
    done = try_everything(scene, client, METHODS[1:])
    assert "POST ops-logs-export" in done
    after = walking.rows_of_everything(without="OPS_LOG_EXPORT")
    assert {table: rows for table, rows in after.items() if before[table] != rows} == {}


def test_the_control_would_see_a_change(committed_db: str) -> None:
    """The same attempts by an administrator are seen to change something."""
    scene = make_scene()
    client = walking.logged_in(scene.people["administrator"])
    before = walking.rows_of_everything(without="OPS_LOG_EXPORT")
    try_everything(scene, client, ["POST"])
    after = walking.rows_of_everything(without="OPS_LOG_EXPORT")
    changed = {table for table, rows in after.items() if before[table] != rows}
    assert {"operations_events", "kill_switches", "service_tokens", "budgets"} <= changed


def test_the_auditor_reads_everything() -> None:
    """Whatever anybody may look at (not: do), but people and their groups."""
    looking = {
        name: page
        for name, page in expectations.pages().items()
        if name.endswith(("_changelist", "_change", "_history"))
        or (name in expectations.PAGES and page.post != page.get)
    }
    kept = {name for name, page in looking.items() if page.get and "auditor" not in page.get}
    assert {name for name in kept if not name.startswith("admin:auth_")} == set()
