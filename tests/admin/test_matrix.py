"""Who may open and do what: every address of the admin has its row, and nothing gets around it.

The addresses are read from the admin itself, so that a new page without a row here is a failure.
`tests/access/test_every_address.py` opens them and posts to them, for every role.
"""

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, reverse

from tests.admin.pages import log_in
from tests.admin.permissions import (
    CHANGE,
    FOR_EVERYBODY,
    POST_ONLY,
    READ,
    address,
    expected,
)
from tests.admin.scene import Scene


def names() -> Iterator[str]:
    def walk(patterns: list[object]) -> Iterator[str]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                if pattern.name:
                    yield pattern.name
            else:
                yield from walk(pattern.url_patterns)  # type: ignore[attr-defined]

    yield from walk(list(admin.site.urls[0]))


def test_every_address_is_in_the_matrix() -> None:
    known = set(expected()) | set(POST_ONLY) | FOR_EVERYBODY
    assert set(names()) == known


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
    root = reverse("admin:auth_user_link", args=[scene.people["root"].pk])
    assert client.post(root, {"sure": "yes"}).status_code == 403
