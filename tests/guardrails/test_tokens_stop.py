"""Tokens stop, people lift: whatever its scopes are, a token lifts only what it set itself."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from budgets.controls import breaker, features, kill_switch
from budgets.models import CircuitBreaker, FeatureControl, Grant, KillSwitch, TimedMitigation
from tests import factories
from tests.access import walking
from tests.access.expectations import MACHINES
from tests.admin.scene import make_scene
from workorders import directory, tokens
from workorders.models import Scope, WorkOrder

EVERY = [scope.value for scope in Scope]
BACKEND = "django.contrib.auth.backends.ModelBackend"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TARGETS = [("Global", None), ("Surface", "web"), ("Identity", "agent:loop-7")]


@pytest.fixture
def director(db: None) -> User:
    return factories.make_user("director", groups=["operations", "director"])


def switch(text: str, scope: str, target: str | None, *, on: bool) -> Any:
    return Client().post(
        "/api/llm/killswitch",
        {"scope": scope, "target": target, "enabled": on, "reason": "a loop"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {text}"},
    )


def switch_in_session(person: User, scope: str, target: str | None, *, on: bool) -> Any:
    client = Client()
    client.force_login(person, backend=BACKEND)
    return client.post(
        "/api/llm/killswitch",
        {"scope": scope, "target": target, "enabled": on, "reason": "a person"},
        content_type="application/json",
    )


def is_on(scope: str) -> bool:
    return KillSwitch.objects.get(scope=scope).enabled


@pytest.mark.parametrize(("scope", "target"), TARGETS)
def test_a_token_lifts_what_it_set(director: User, scope: str, target: str | None) -> None:
    text = factories.make_token(EVERY, owner=director)[1]
    assert switch(text, scope, target, on=True).status_code == 200
    assert switch(text, scope, target, on=True).status_code == 200  # again, and it stays its own
    assert switch(text, scope, target, on=False).status_code == 200
    assert not is_on(scope)


@pytest.mark.parametrize(("scope", "target"), TARGETS)
def test_no_token_lifts_what_a_person_set(director: User, scope: str, target: str | None) -> None:
    text = factories.make_token(EVERY, owner=director)[1]
    assert switch_in_session(director, scope, target, on=True).status_code == 200
    for on in (False, True, False):  # nor by stopping it once more before
        answer = switch(text, scope, target, on=on)
        assert answer.status_code == (200 if on else 403)
    assert answer.headers["Tollgate-Denial"] == "scope"
    assert "only a stop that it set itself" in answer.json()["error"]
    assert is_on(scope)
    assert KillSwitch.objects.get().reason == "a person"
    assert switch_in_session(director, scope, target, on=False).status_code == 200


@pytest.mark.parametrize(("scope", "target"), TARGETS)
def test_no_token_lifts_what_another_set(director: User, scope: str, target: str | None) -> None:
    """Of the same owner, too. And what both have set is people's to lift."""
    mine = factories.make_token(EVERY, owner=director, name="mine")[1]
    other = factories.make_token(EVERY, owner=director, name="other")[1]
    switch(mine, scope, target, on=True)
    assert switch(other, scope, target, on=False).status_code == 403
    assert switch(other, scope, target, on=True).status_code == 200
    for text in (other, mine):
        assert switch(text, scope, target, on=False).status_code == 403
    assert is_on(scope)


def test_a_successor_lifts_what_its_predecessor_set(director: User) -> None:
    token, text = factories.make_token(EVERY, owner=director)
    switch(text, "Global", None, on=True)
    successor = tokens.rotate(token.pk, by="x", reason="time")[1]
    assert switch(successor, "Global", None, on=True).status_code == 200
    assert switch(successor, "Global", None, on=False).status_code == 200


def test_a_person_on_top_makes_it_theirs(director: User) -> None:
    text = factories.make_token(EVERY, owner=director)[1]
    switch(text, "Global", None, on=True)
    switch_in_session(director, "Global", None, on=True)
    assert switch(text, "Global", None, on=False).status_code == 403


@pytest.mark.parametrize("statement", ["enabled = true", "enabled = true, reason = 'by SQL'"])
def test_sql_on_top_makes_it_peoples(director: User, statement: str) -> None:
    text = factories.make_token(EVERY, owner=director)[1]
    switch(text, "Global", None, on=True)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE kill_switches SET {statement}")
    assert switch(text, "Global", None, on=False).status_code == 403


def test_a_stop_of_the_command_line_is_peoples(director: User) -> None:
    text = factories.make_token(EVERY, owner=director)[1]
    kill_switch.switch("Global", None, enabled=True, reason="fire", by="root (command line)")
    assert switch(text, "Global", None, on=False).status_code == 403


@pytest.mark.parametrize(
    ("groups", "allowed"), [((), set()), (("operations",), {"Identity"}), (("auditor",), set())]
)
def test_a_token_does_no_more_than_its_owner(
    db: None, groups: tuple[str, ...], allowed: set[str]
) -> None:
    owner = factories.make_user("owner", groups=groups)
    text = factories.make_token(EVERY, owner=owner)[1]
    for scope, target in TARGETS:
        answer = switch(text, scope, target, on=True)
        assert answer.status_code == (200 if scope in allowed else 403), scope


def test_an_owner_who_lost_the_right_lifts_nothing(director: User) -> None:
    text = factories.make_token(EVERY, owner=director)[1]
    switch(text, "Global", None, on=True)
    director.groups.clear()
    assert switch(text, "Global", None, on=False).status_code == 403
    User.objects.filter(pk=director.pk).update(is_active=False)
    assert switch(text, "Global", None, on=False).status_code == 401
    assert is_on("Global")


def state() -> dict[str, Any]:
    """Everything that holds spending back, as it stands."""
    return {
        "switches": list(KillSwitch.objects.values("scope", "target", "enabled").order_by("pk")),
        "features": list(
            FeatureControl.objects.values(
                "feature", "enabled", "requests_per_period", "cost_cap_usd"
            ).order_by("pk")
        ),
        "breakers": list(CircuitBreaker.objects.values("scope", "subject", "state")),
        "stopped": list(WorkOrder.objects.filter(status="suspended").values_list("pk", flat=True)),
        "mitigations": list(TimedMitigation.objects.values("pk", "ended_at")),
        "grants": list(Grant.objects.values("pk", "value", "ends_at")),
        "caps": list(WorkOrder.objects.filter(pk="w1").values_list("caps", "max_concurrent_runs")),
    }


def test_no_address_for_tokens_lifts_anything(committed_db: str) -> None:
    """Every address that takes a token, with every method, by a token with every scope whose owner
    may do everything: nothing that a person has stopped goes on."""
    scene = make_scene()
    people = scene.people
    owner = factories.make_user("everything", groups=["operations", "director", "administrator"])
    for scope, target in (*TARGETS, ("Identity", "user:x")):
        kill_switch.switch(
            scope, target, enabled=True, reason="x", by="director", person=people["director"]
        )
    features.change("chat", {"enabled": False}, reason="x", by="ops")
    breaker.trip("global", "", reason="x", by="ops")
    breaker.trip("work_order", "w1", reason="x", by="ops")
    directory.suspend("w1", by="ops", reason="x")
    text = factories.make_token(EVERY, owner=owner, name="all")[1]
    before = state()
    headers = {"authorization": f"Bearer {text}"}
    lift = {"scope": "Identity", "target": "user:x", "enabled": False, "reason": "x"}
    tried = 0
    for address in walking.addresses():
        row = MACHINES.get(address.name)
        if row is None or not row.scopes:
            continue
        bodies = [row.body, {**row.body, "enabled": True}, {**row.body, "enabled": False}]
        if address.name == "killswitch":
            bodies += [{**lift, "scope": scope, "target": to} for scope, to in TARGETS]
        for method in METHODS:
            for body in bodies:
                Client().generic(
                    method,
                    address.path(scene),
                    data=json.dumps(body),
                    content_type="application/json",
                    headers=headers,
                )
                tried += 1
    assert tried > 100
    assert state() == before
