"""The one way in, and what is not behind it."""

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from opslog.models import OperationsEvent
from tests import factories
from tests.sign_in.people import BACKEND, PASSWORD, is_in, person, signed_in, try_to_sign_in

pytestmark = pytest.mark.django_db


def test_the_admin_leads_to_it_and_back() -> None:
    person("ada")
    client = Client()
    page = client.get("/admin/workorders/workorder/", follow=True)
    assert [url for url, _ in page.redirect_chain] == [
        "/admin/login/?next=/admin/workorders/workorder/",
        "/account/login/?next=%2Fadmin%2Fworkorders%2Fworkorder%2F",
    ]
    data = {"login": "ada", "password": PASSWORD, "next": "/admin/workorders/workorder/"}
    assert client.post("/account/login/", data).headers["Location"] == data["next"]


@pytest.mark.parametrize("onward", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_it_leads_nowhere_else(onward: str) -> None:
    person("ada")
    data = {"login": "ada", "password": PASSWORD, "next": onward}
    assert Client().post("/account/login/", data).headers["Location"] == "/admin/"


def test_a_wrong_name_and_a_wrong_password_look_alike() -> None:
    person("ada")
    person("gone", is_active=False)
    texts = {
        try_to_sign_in(Client(), *item).content.decode().replace(item[0], "")
        for item in (("ada", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD))
    }
    # But for the token of the form.
    assert len({text.split("csrfmiddlewaretoken")[0] for text in texts}) == 1
    assert all("The username or password is incorrect." in text for text in texts)


def test_who_is_no_staff_does_not_get_in() -> None:
    person("clerk", is_staff=False)
    client = Client()
    assert try_to_sign_in(client, "clerk").headers["Location"] == "/account/inactive/"
    assert not is_in(client)
    assert client.get("/api/cap-changes").status_code == 403


@pytest.mark.parametrize(
    "name",
    [
        "account_signup",
        "account_email",
        "account_reset_password",
        "account_set_password",
        "socialaccount_connections",
        "socialaccount_signup",
        "account_confirm_email",
    ],
)
def test_what_is_not_needed_has_no_address(name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name)


def test_the_way_out() -> None:
    person("ada")
    client = signed_in("ada")
    assert "Sign out?" in client.get("/admin/logout/", follow=True).content.decode()
    assert is_in(client)
    assert client.post("/admin/logout/").headers["Location"] == "/account/login/"
    assert not is_in(client)


def test_no_cache_keeps_what_is_somebodys() -> None:
    person("ada", "auditor")
    client = signed_in("ada")
    text = factories.make_token(["read"])[1]
    for path in ("/admin/", "/ops-logs", "/account/sessions/", "/api/cap-changes", "/api/x"):
        assert "no-store" in client.get(path).headers["Cache-Control"], path
    for path in ("/api/work-orders", "/api/operations-events", "/api/work-orders/none"):
        answer = Client().get(path, headers={"authorization": f"Bearer {text}"})
        assert answer.headers["Cache-Control"] == "no-store, private", path
    for path in ("/account/login/", "/admin/", "/api/work-orders"):
        assert "no-store" in Client().get(path).headers["Cache-Control"], path


def test_wrong_passwords_of_whoever_is_signed_in_are_told() -> None:
    ada = person("ada")
    client = Client()
    client.force_login(ada, backend=BACKEND)
    client.post("/account/confirm/", {"password": "not mine"})
    assert OperationsEvent.objects.get(kind="PASSWORD_REFUSED").actor == "ada"
    for _ in range(12):
        page = client.post("/account/confirm/", {"password": "not mine"})
    assert "Too many attempts" in page.content.decode()
