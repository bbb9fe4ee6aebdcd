"""Hostile text in every free-text field, on every page and in every file."""

import csv
import io
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.template import engines

from budgets import clock
from opslog.events import csv_cells, saved_views
from opslog.identities import CONTROL
from tests import factories
from tests.access import expectations, walking
from tests.access.expectations import EXPORTS, MACHINES
from tests.access.hostile import FORMULAS, MARK, TEXTS, formulas, injected, lines
from tests.admin.scene import Scene, make_scene

INSERT = """
INSERT INTO operations_events
    (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
VALUES ('NOTE', %(text)s, %(type)s, %(id)s, %(text)s, %(text)s,
    jsonb_build_object(%(text)s::text, %(text)s::text, 'woId', %(text)s::text, 'agentName',
        %(text)s::text, 'runId', %(text)s::text, 'requestId', %(text)s::text, 'reason',
        %(text)s::text, 'changes', jsonb_build_object(%(text)s::text,
        jsonb_build_object('old', %(text)s::text, 'new', jsonb_build_array(%(text)s::text)))),
    %(text)s)
RETURNING id
"""


def note(text: str, owner_type: str = "", owner_id: str = "") -> int:
    """An event as anybody with the database's password may write it: hostile in every column."""
    values = {"text": text, "type": owner_type or text, "id": owner_id or text}
    with connection.cursor() as cursor:
        cursor.execute(INSERT, values)
        return int(cursor.fetchone()[0])


def hostile_scene(text: str) -> Scene:
    """One of everything, its texts hostile; a few of them through SQL and the admin's forms."""
    scene = make_scene(text)
    note(text)
    scene.event.pk = note(text, "work_order", "w1")
    scene.ids["opslog_operationsevent"] = str(scene.event.pk)
    saved_views.keep(text[:80], "kind=NOTE", shared=True, by=scene.people["root"])
    User.objects.filter(username="auditor").update(first_name=text[:150], last_name=text[:150])
    factories.make_work_order("w2", title=text)
    return scene


@pytest.mark.parametrize("name", TEXTS)
def test_text_stays_text_on_every_page(db: None, name: str) -> None:
    text = TEXTS[name]
    scene = hostile_scene(text)
    client = walking.logged_in(scene.people["root"])
    result, wrong = 0, dict[str, str]()
    for address in walking.addresses():
        if address.name not in expectations.pages() and not address.name.startswith("admin"):
            continue
        path = address.path(scene)
        for query in queries(address.name, text):
            answer = client.get(path + query)
            kind = answer.headers.get("Content-Type", "")
            is_csv = kind.startswith("text/csv")
            if is_csv and (bad := formulas(answer.getvalue().decode())[0]):
                wrong[path] = bad[0]
            if not kind.startswith("text/html"):
                continue
            found, seen = injected(answer.content.decode())
            result += bool(seen)
            if found:
                wrong[path + query] = found[0]
    assert wrong == {}
    assert result > 30, "the text is hardly anywhere: the scene has lost it"


def queries(name: str, text: str) -> list[str]:
    """The address alone, and with the text in each of its parameters that is shown again."""
    if name in ("ops-logs", "ops-logs-rows"):
        result = dict.fromkeys(("actor", "kind", "owner_type", "owner_id", "text", "agent"), text)
        return ["", f"?{urlencode(result)}", f"?{urlencode({text[:60]: text, 'since': text})}"]
    if name.endswith("_changelist"):
        return ["", f"?{urlencode({'q': text})}"]
    return [""]


@pytest.mark.parametrize("name", TEXTS)
def test_answers_of_the_api_are_no_pages(db: None, name: str) -> None:
    """What a browser cannot take for HTML needs no escaping."""
    scene = hostile_scene(TEXTS[name])
    token = factories.make_token(expectations.SCOPES, owner=scene.people["root"], name="all")[1]
    client = walking.client_of(scene, "anonymous")
    for address in walking.addresses():
        if address.name in MACHINES:
            answer = client.get(address.path(scene), headers={"authorization": f"Bearer {token}"})
            kind = answer.headers["Content-Type"]
            assert kind.startswith(("application/json", "application/x-protobuf")), address
            assert answer.headers["X-Content-Type-Options"] == "nosniff", address


def file(client: Any, path: str, method: str, body: dict[str, str]) -> str:
    answer = client.post(path, body) if method == "POST" else client.get(path, body)
    assert answer.status_code == 200, path
    assert answer.headers["Content-Disposition"].startswith("attachment"), path
    return str(answer.getvalue().decode())


@pytest.mark.parametrize("name", EXPORTS)
def test_no_cell_is_a_formula(db: None, name: str) -> None:
    texts = [each.format(mark=MARK) for each in FORMULAS]
    scene = hostile_scene(texts[0])
    for number, text in enumerate(texts):
        note(text)
        # (A title holds no control characters.)
        factories.make_work_order(f"named-{number}", title=CONTROL.sub(" ", text))
    client = walking.logged_in(scene.people["auditor"])
    (address,) = [each for each in walking.addresses() if each.name == name]
    for method, body, form in EXPORTS[name]:
        day = clock.today().isoformat()
        result = file(client, address.path(scene), method, {**body, "day": day})
        assert result.count(MARK) >= len(texts), "the texts are not in the file"
        if form == "csv":
            assert formulas(result)[0] == []
        else:
            assert lines(result) > len(texts)


# ---- the controls: each of the above is able to fail


@pytest.mark.parametrize("name", TEXTS)
def test_the_parser_sees_what_is_not_escaped(name: str) -> None:
    places = (
        "<p>{{ text|safe }}</p>",
        '<a title="{{ text|safe }}">x</a>',
        "<a title='{{ text|safe }}'>x</a>",
        '<a href="{{ text|safe }}">x</a>',
        "<textarea>{{ text|safe }}</textarea>",
        '<div x-data="{{ text }}"></div>',
        "<script>let x = '{{ text|safe }}'</script>",
    )
    engine = engines["django"]
    pages = [engine.from_string(place).render({"text": TEXTS[name]}) for place in places]
    assert sum(bool(injected(page)[0]) for page in pages) >= 2
    safe = engine.from_string("<p title='{{ text }}'>{{ text }}</p>").render({"text": TEXTS[name]})
    assert injected(safe) == ([], 2)


def test_an_address_is_no_script() -> None:
    page = engines["django"].from_string('<a href="{{ text }}">x</a>')
    assert injected(page.render({"text": TEXTS["address"]}))[0] != []


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_check_sees_a_formula(formula: str) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow(["a", formula.format(mark=MARK)])
    assert len(formulas(buffer.getvalue())[0]) == 1
    assert formulas(csv_cells.line(["a", formula.format(mark=MARK)]))[0] == []
