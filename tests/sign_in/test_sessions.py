"""How long a session lasts, where there are others, and how they end."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import LazySettings
from django.test import Client

from tests.sign_in.people import PASSWORD, is_in, person, signed_in

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
NEW = "seventeen violet kettles"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
)


def is_in_at(client: Client, after: timedelta, path: str = "/admin/") -> bool:
    with time_machine.travel(NOON + after, tick=False):
        return client.get(path).status_code == 200


def began_at_noon(name: str = "ada") -> Client:
    person(name, "operations")
    with time_machine.travel(NOON, tick=False):
        client = signed_in(name)
        assert is_in(client)
    return client


def test_it_ends_when_nobody_is_there() -> None:
    client = began_at_noon()
    for minutes in (29, 58, 87):
        assert is_in_at(client, timedelta(minutes=minutes))
    assert not is_in_at(client, timedelta(minutes=117))
    with time_machine.travel(NOON + timedelta(minutes=118), tick=False):
        page = client.get("/admin/", follow=True).content.decode()
    assert "Sign in" in page


def test_it_says_why() -> None:
    client = began_at_noon()
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        assert "Your session expired" in client.get("/admin/", follow=True).content.decode()


def test_a_page_that_asks_by_itself_is_nobody() -> None:
    client = began_at_noon()
    for minutes in (10, 20, 29):
        assert is_in_at(client, timedelta(minutes=minutes), "/ops-dashboard/live")
    assert not is_in_at(client, timedelta(minutes=31))


def test_it_ends_after_its_longest_whatever_is_done() -> None:
    client = began_at_noon()
    for quarters in range(1, 48):
        assert is_in_at(client, timedelta(minutes=15 * quarters)), quarters
    assert not is_in_at(client, timedelta(hours=12))


def test_the_api_in_a_session_ends_with_it() -> None:
    client = began_at_noon()
    assert is_in_at(client, timedelta(minutes=20), "/api/cap-changes")
    with time_machine.travel(NOON + timedelta(minutes=51), tick=False):
        answer = client.get("/api/cap-changes")
    assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "session")


def test_both_are_settings(settings: LazySettings) -> None:
    settings.TOLLGATE_SESSION_IDLE, settings.SESSION_COOKIE_AGE = 60, 150
    client = began_at_noon()
    assert is_in_at(client, timedelta(seconds=59))
    client = began_at_noon("bob")
    for seconds in (59, 118):
        assert is_in_at(client, timedelta(seconds=seconds)) is (seconds == 59)


def test_one_sees_where_one_is_signed_in_and_ends_the_others() -> None:
    person("ada")
    person("eve")
    here, there, other = Client(), Client(headers={"user-agent": "Old phone"}), Client()
    for client, name in ((here, "ada"), (there, "ada"), (other, "eve")):
        data = {"login": name, "password": PASSWORD}
        client.post("/account/login/", data, REMOTE_ADDR="192.0.2.7" if client is there else "::1")
        assert is_in(client)
    page = here.get("/account/sessions/").content.decode()
    assert "Old phone" in page
    assert "192.0.2.7" in page
    assert page.count("This session") == 1
    here.post("/account/sessions/")
    assert (is_in(here), is_in(there), is_in(other)) == (True, False, True)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            IPHONE,
            "Mobile Safari 18 on iOS",
        ),
        ("Old phone", "Old phone"),
        ("", "Unknown browser"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ],
)
def test_a_browser_by_its_name(message: str, shown: str) -> None:
    person("ada")
    client = Client(headers={"user-agent": message} if message else {})
    client.post("/account/login/", {"login": "ada", "password": PASSWORD})
    assert f">{shown}<" in client.get("/account/sessions/").content.decode()


def test_a_new_password_signs_out_everywhere_else() -> None:
    person("ada")
    here, there = signed_in("ada"), signed_in("ada")
    data = {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
    page = here.post("/account/password/", data, follow=True).content.decode()
    assert "signed out everywhere else" in page
    assert (is_in(here), is_in(there)) == (True, False)
    assert here.get("/admin/password_change/").headers["Location"] == "/account/password/"
