"""Who may open and do what: every address of the admin, for every role.

The addresses are read from the admin itself, so that a new page without a row here is a failure.
"""

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import URLPattern, reverse

from tests.admin.pages import log_in
from tests.admin.permissions import (
    CHANGE,
    FOR_EVERYBODY,
    GET_ONLY,
    NONE,
    POST_ONLY,
    READ,
    address,
    expected,
)
from tests.admin.scene import ROLES, Scene

TABLES = (
    "operations_events",
    "seals",
    "work_orders",
    "work_order_runs",
    "agents",
    "change_markers",
    "service_tokens",
    "change_requests",
    "change_votes",
    "cap_grants",
    "approval_rules",
    "approval_slots",
    "model_prices",
    "outbox_messages",
    "message_policy",
    "notification_preferences",
    "budgets",
    "kill_switches",
    "circuit_breakers",
    "feature_flags",
    "alerts",
    "preflight_rules",
    "direct_spend",
    "cost_corrections",
    "cost_rules",
    "incidents",
    "incident_entries",
    "incident_mitigations",
    "automatic_mitigations",
    "timed_mitigations",
    "hotspots",
    "contacts",
    "dimension_budgets",
    "service_mappings",
    "monthly_reviews",
    "review_checks",
    "review_decisions",
    "review_signatures",
    "alert_rules",
    "auth_user",
    "auth_user_groups",
    "memberships",
    "account_changes",
    "account_links",
    "former_names",
)


def names() -> Iterator[str]:
    def walk(patterns: list[object]) -> Iterator[str]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                if pattern.name:
                    yield pattern.name
            else:
                yield from walk(pattern.url_patterns)  # type: ignore[attr-defined]

    yield from walk(list(admin.site.urls[0]))


def state() -> list[str]:
    """Every row of every table that the admin could write."""
    found = []
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t")
            found.append(cursor.fetchone()[0])
    return found


def test_every_address_is_in_the_matrix() -> None:
    known = set(expected()) | set(POST_ONLY) | FOR_EVERYBODY
    assert set(names()) == known


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
def test_who_may_open_what(scene: Scene, role: str) -> None:
    client = log_in(scene, role)
    before = state()
    wrong = {}
    for name, allowed in expected().items():
        status = client.get(address(scene, name)).status_code
        right = (200, 302) if role in allowed or name.endswith("_history") else (403,)
        if status not in right:
            wrong[name] = status
    for name in POST_ONLY:
        if (status := client.get(address(scene, name)).status_code) != 405:
            wrong[name] = status
    assert wrong == {}
    assert state() == before, "reading wrote something"


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
def test_who_may_post_what(scene: Scene, role: str) -> None:
    """An empty POST: a form's errors where one may, a refusal where not; nothing is written."""
    client = log_in(scene, role)
    before = state()
    wrong = {}
    pages = {**expected(), **POST_ONLY}
    for name, allowed in pages.items():
        model, _, last = name.rpartition("_")
        if last in ("changelist", "history") or name in GET_ONLY:
            continue
        if model in READ and last == "change":
            if role in CHANGE.get(model, NONE):
                continue  # an agent whose box is not ticked is switched off: no empty form
            allowed = NONE  # noqa: PLW2901  (reading is not changing)
        status = client.post(address(scene, name), {}).status_code
        right = (200, 302, 409) if role in allowed else (403, 405)
        if status not in right:
            wrong[name] = status
    assert wrong == {}
    assert state() == before


@pytest.mark.parametrize("name", [f"{model}_delete" for model in READ])
def test_nobody_deletes(scene: Scene, name: str) -> None:
    client = log_in(scene, "root")
    assert client.post(address(scene, name), {"post": "yes"}).status_code == 403


def test_a_superuser_changes_no_ledger(scene: Scene) -> None:
    client = log_in(scene, "root")
    for model in set(READ) - set(CHANGE):
        assert client.post(address(scene, f"{model}_change"), {}).status_code in (403, 405), model


def test_strangers_are_sent_to_the_login(scene: Scene) -> None:
    for name in expected():
        answer = Client().get(address(scene, name))
        assert answer.status_code == 302, name
        assert "/admin/login/" in answer["Location"]


def test_an_administrator_cannot_raise_themself(scene: Scene) -> None:
    """Neither into another group, nor to a superuser, nor by a superuser's account."""
    client = log_in(scene, "administrator")
    me = scene.people["administrator"]
    every = [str(pk) for pk in me.groups.model.objects.values_list("pk", flat=True)]
    mine = {"username": me.username, "groups": every, "is_superuser": "on", "is_active": "on"}
    client.post(reverse("admin:auth_user_change", args=[me.pk]), mine)
    me.refresh_from_db()
    assert [group.name for group in me.groups.all()] == ["administrator"]
    assert not me.is_superuser
    root = reverse("admin:auth_user_send_link", args=[scene.people["root"].pk])
    assert client.post(root, {"sure": "yes"}).status_code == 403
