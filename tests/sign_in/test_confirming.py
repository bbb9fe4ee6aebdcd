"""Changes of rules, people and tokens: only who has confirmed lately that it is still them."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.admin.scene import Scene, make_scene
from tests.sign_in.people import BACKEND, PASSWORD
from workorders.models import ServiceToken

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def scene(db: None) -> Scene:
    made = make_scene()
    for each in made.people.values():
        each.set_password(PASSWORD)
    User.objects.bulk_update(made.people.values(), ["password"])
    return made


def addresses(scene: Scene) -> dict[str, str]:
    ids = scene.ids
    return {
        "a person": reverse("admin:auth_user_add"),
        "a token": reverse("admin:workorders_servicetoken_add"),
        "an approval rule": reverse(
            "admin:budgets_approvalrule_replace", args=[ids["budgets_approvalrule"]]
        ),
        "an alert rule": reverse(
            "admin:budgets_alertrule_change_rule", args=[ids["budgets_alertrule"]]
        ),
        "a pre-flight rule": reverse(
            "admin:budgets_preflightrule_change_rule", args=[ids["budgets_preflightrule"]]
        ),
        "a password link": reverse("admin:auth_user_link", args=[scene.people["vp"].pk]),
        "an account change": reverse(
            "admin:budgets_accountchange_confirm", args=[ids["budgets_accountchange"]]
        ),
    }


def somebody(scene: Scene, role: str = "administrator") -> Client:
    client = Client()
    client.force_login(scene.people[role], backend=BACKEND)
    return client


def test_each_of_them_asks_first(scene: Scene) -> None:
    client = somebody(scene)
    for what, path in addresses(scene).items():
        for method in ("GET", "POST"):
            answer = client.generic(method, path)
            assert answer.status_code == 302, (what, method)
            assert answer.headers["Location"] == f"/account/confirm/?next={path}", (what, method)
    assert client.post("/account/confirm/", {"password": PASSWORD}).status_code == 302
    for what, path in addresses(scene).items():
        assert client.get(path).status_code == 200, what


def test_a_person_is_read_without_and_changed_with_it(scene: Scene) -> None:
    client = somebody(scene)
    auditor = scene.people["auditor"]
    path = reverse("admin:auth_user_change", args=[auditor.pk])
    assert client.get(path).status_code == 200
    data = {"username": auditor.username, "is_active": "on", "is_staff": "on", "groups": []}
    assert client.post(path, data).headers["Location"] == f"/account/confirm/?next={path}"
    assert auditor.groups.exists()
    back = client.post(f"/account/confirm/?next={path}", {"password": PASSWORD}, follow=True)
    assert "Submit the form again" in back.content.decode()
    client.post(path, data)
    assert not auditor.groups.exists()


def test_it_counts_for_five_minutes(scene: Scene) -> None:
    path = addresses(scene)["a token"]
    with time_machine.travel(NOON, tick=False):
        client = somebody(scene)
        client.post("/account/confirm/", {"password": PASSWORD})
    for seconds, status in ((299, 200), (301, 302)):
        with time_machine.travel(NOON + timedelta(seconds=seconds), tick=False):
            assert client.get(path).status_code == status


def test_signing_in_is_no_confirmation(scene: Scene) -> None:
    client = Client()
    administrator = scene.people["administrator"].username
    client.post("/account/login/", {"login": administrator, "password": PASSWORD})
    assert client.get(addresses(scene)["a token"]).status_code == 302


def test_it_is_of_one_session(scene: Scene) -> None:
    one, other = somebody(scene), somebody(scene)
    one.post("/account/confirm/", {"password": PASSWORD})
    assert other.get(addresses(scene)["a token"]).status_code == 302


def test_a_wrong_password_makes_no_token(scene: Scene) -> None:
    client = somebody(scene)
    before = ServiceToken.objects.count()
    path = addresses(scene)["a token"]
    client.post(f"/account/confirm/?next={path}", {"password": "wrong"})
    data = {"name": "x", "owner": scene.people["administrator"].pk, "scopes": ["read"]}
    assert client.post(path, data).status_code == 302
    assert ServiceToken.objects.count() == before


def test_who_may_not_is_refused_as_before(scene: Scene) -> None:
    client = somebody(scene, "auditor")
    client.post("/account/confirm/", {"password": PASSWORD})
    for path in addresses(scene).values():
        assert client.get(path).status_code == 403
