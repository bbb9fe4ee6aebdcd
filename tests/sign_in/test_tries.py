"""How often somebody may try, counted before any password is hashed."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection
from django.db.models import F
from django.test import Client

from opslog import sign_in
from opslog.models import SignInTries
from tests.sign_in.people import PASSWORD, is_in, person, signed_in, try_to_sign_in

HASHED: list[str] = []


class Counting(PBKDF2PasswordHasher):
    """The shipped one, which says that it was used."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        HASHED.append(password)
        return super().encode(password, salt, iterations)


@pytest.fixture(autouse=True)
def counted(db: None, settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.Counting"]
    person("ada")
    HASHED.clear()


def time_passes(seconds: int) -> None:
    """All counters become so much older."""
    ago = timedelta(seconds=seconds)
    SignInTries.objects.update(expires_at=F("expires_at") - ago, not_before=F("not_before") - ago)


def test_random_names_of_one_address_are_hashed_up_to_the_limit() -> None:
    statuses = [
        try_to_sign_in(Client(), f"nobody-{number}").status_code
        for number in range(sign_in.ADDRESS_TRIES + 30)
    ]
    assert statuses == [200] * sign_in.ADDRESS_TRIES + [429] * 30
    assert len(HASHED) == sign_in.ADDRESS_TRIES
    answer = try_to_sign_in(Client(), "nobody")
    assert answer.headers["Retry-After"] == str(sign_in.ADDRESS_WINDOW)
    assert "Too many attempts" in answer.content.decode()
    # Another address may, and this one again after a while.
    assert try_to_sign_in(Client(), "x", address="192.0.2.2").status_code == 200
    time_passes(sign_in.ADDRESS_WINDOW)
    assert try_to_sign_in(Client(), "x").status_code == 200


def test_an_ipv6_network_is_one_address() -> None:
    for number in range(sign_in.ADDRESS_TRIES):
        try_to_sign_in(Client(), f"n{number}", address=f"2001:db8::{number:x}")
    assert try_to_sign_in(Client(), "x", address="2001:db8::ffff:1").status_code == 429
    assert try_to_sign_in(Client(), "x", address="2001:db8:0:1::1").status_code == 200


def test_wrong_passwords_on_one_name_from_many_addresses_are_slowed() -> None:
    for number in range(40):
        try_to_sign_in(Client(), "ada", "wrong", address=f"198.51.100.{number}")
    assert len(HASHED) == sign_in.FREE_TRIES + 1
    # From a new address not even the right one is looked at now: nobody could tell who it is.
    assert try_to_sign_in(Client(), "ada", address="203.0.113.1").status_code == 429


@pytest.mark.parametrize("spelling", ["ADA", " ada ", "\uff41da"])
def test_a_name_is_one_in_all_spellings(spelling: str) -> None:
    for number in range(sign_in.FREE_TRIES + 1):
        try_to_sign_in(Client(), "ada", "wrong", address=f"198.51.100.{number}")
    assert try_to_sign_in(Client(), spelling, "wrong", "203.0.113.1").status_code == 429


def test_the_pause_doubles_and_ends() -> None:
    for number in range(sign_in.FREE_TRIES):
        assert try_to_sign_in(Client(), "ada", "wrong", f"198.51.100.{number}").status_code == 200
    pause = 1
    for number in range(15):
        address = f"203.0.113.{number}"
        assert try_to_sign_in(Client(), "ada", "wrong", address).status_code == 200
        assert try_to_sign_in(Client(), "ada", "wrong", address).status_code == 429
        time_passes(min(pause, sign_in.LONGEST_PAUSE))
        pause *= 2
    assert try_to_sign_in(Client(), "ada", address="203.0.113.200").status_code == 302


def test_nobody_locks_a_person_out_of_the_device_they_use() -> None:
    known = signed_in("ada")
    known.post("/account/logout/")
    assert not is_in(known)
    # Their name, and their own address, are used up by somebody else.
    for number in range(30):
        try_to_sign_in(Client(), "ada", "wrong", address=f"198.51.100.{number}")
        try_to_sign_in(Client(), f"other-{number}", "wrong")
    assert try_to_sign_in(Client(), "ada").status_code == 429
    assert try_to_sign_in(known, "ada").status_code == 302
    assert is_in(known)


def test_a_device_is_known_for_its_own_people_alone() -> None:
    person("eve")
    device = signed_in("eve", address="192.0.2.9")
    device.post("/account/logout/")
    for number in range(10):
        try_to_sign_in(Client(), "ada", "wrong", address=f"198.51.100.{number}")
    assert try_to_sign_in(device, "ada", address="192.0.2.9").status_code == 429


def test_a_known_device_does_not_guess_for_ever() -> None:
    device = signed_in("ada")
    device.post("/account/logout/")
    for number in range(10):
        try_to_sign_in(Client(), "ada", "wrong", address=f"198.51.100.{number}")
    statuses = [try_to_sign_in(device, "ada", "wrong").status_code for _ in range(20)]
    assert statuses == [200] * sign_in.DEVICE_TRIES + [429] * 10


@pytest.mark.parametrize("cookie", ["", "x", "e30:1wtest:x", "a" * 5000])
def test_a_forged_device_is_none(cookie: str) -> None:
    assert sign_in.known(cookie) == {}


def test_the_cookie_keeps_the_latest_people_and_their_secrets() -> None:
    cookie = ""
    for number in range(8):
        cookie = sign_in.with_person(cookie, f"p{number}")
    people = sign_in.known(cookie)
    assert list(people) == [sign_in.name_key(f"p{number}") for number in range(3, 8)]
    again = sign_in.known(sign_in.with_person(cookie, "p4"))
    assert again[sign_in.name_key("p4")] == people[sign_in.name_key("p4")]


def test_who_signs_in_uses_nothing_up() -> None:
    for _ in range(sign_in.ADDRESS_TRIES + 5):
        signed_in("ada")
    assert not SignInTries.objects.filter(tries__gt=0, key__startswith="address:").exists()


@pytest.mark.parametrize("path", ["/account/login/passkey/", "/account/sso/"])
def test_what_begins_without_a_name_is_counted_too(path: str) -> None:
    client = Client(headers={"accept": "application/json"})
    statuses = [client.get(path).status_code for _ in range(sign_in.CHALLENGES + 5)]
    assert statuses.count(429) == 5
    assert 429 not in statuses[: sign_in.CHALLENGES]
    assert try_to_sign_in(Client(), "ada", address="127.0.0.1").status_code == 302


def test_the_table_forgets_and_shows_no_names() -> None:
    try_to_sign_in(Client(), "my-secret-password", "x")
    assert not SignInTries.objects.filter(key__contains="secret").exists()
    time_passes(sign_in.FORGOTTEN_AFTER)
    try_to_sign_in(Client(), "other", "x", address="192.0.2.77")
    assert SignInTries.objects.count() == 2


def test_there_is_one_way_in_and_it_is_counted() -> None:
    """The admin's own sign-in is none: it hashes nothing, whatever is sent to it."""
    data: dict[str, Any] = {"username": "ada", "password": PASSWORD, "next": "/admin/"}
    for path in ("/admin/login/", "/admin/", "/admin/login/?next=/admin/"):
        client = Client()
        answer = client.post(path, data)
        assert answer.status_code == 302
        assert not is_in(client)
    assert HASHED == []


def test_the_page_says_how_to_let_people_in_again() -> None:
    """By SQL, as the application's role: docs/sign-in.md."""
    page = (Path(__file__).resolve().parents[2] / "docs/sign-in.md").read_text()
    (block,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    person("jane")
    for number in range(sign_in.FREE_TRIES + 1):
        try_to_sign_in(Client(), "jane", "wrong", address=f"198.51.100.{number}")
    for _ in range(sign_in.ADDRESS_TRIES):
        try_to_sign_in(Client(), "nobody", "wrong", address="192.0.2.7")
    assert try_to_sign_in(Client(), "jane", address="192.0.2.8").status_code == 429
    with connection.cursor() as cursor:
        cursor.execute(block)
    assert try_to_sign_in(Client(), "jane", address="192.0.2.7").status_code == 302
