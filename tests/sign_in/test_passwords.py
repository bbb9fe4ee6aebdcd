"""Twelve characters, and none that others have used: on every way that sets one."""

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.sign_in.people import PASSWORD, person, signed_in

BAD = {
    "Tr0ub4dor&3": "at least 12 characters",
    "password1234": "data breach",
    "Password1234": "data breach",
    "PASSWORD1234!!": "data breach",
    "qwertyuiop123456": "data breach",
    "iloveyou12345": "data breach",
    "123456789012345": "entirely numeric|data breach|too common",
    "ada-lovelace-1815": "too similar",
}
NEW = "seventeen violet kettles"


@pytest.mark.parametrize("password", BAD)
def test_bad_ones(db: None, password: str) -> None:
    somebody = person("ada-lovelace", email="ada@example.org")
    with pytest.raises(ValidationError) as refused:
        validate_password(password, somebody)
    result = " ".join(refused.value.messages)
    assert any(each in result for each in BAD[password].split("|")), result


def test_good_ones() -> None:
    for password in (NEW, "kT7#vQ2!mZ9x", "zwölf Dutzend Igel"):
        validate_password(password)


def test_one_changes_ones_own(db: None) -> None:
    ada = person("ada")
    client = signed_in("ada")
    data = {"oldpassword": PASSWORD, "password1": "password1234", "password2": "password1234"}
    assert "data breach" in client.post("/account/password/", data).content.decode()
    data = {"oldpassword": "not it", "password1": NEW, "password2": NEW}
    page = client.post("/account/password/", data).content.decode()
    assert "That is not your current password." in page
    data["oldpassword"] = PASSWORD
    assert client.post("/account/password/", data).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password(NEW)


def test_the_old_one_cannot_be_guessed_there(db: None) -> None:
    person("ada")
    client = signed_in("ada")
    data = {"oldpassword": "not it", "password1": NEW, "password2": NEW}
    for _ in range(20):
        page = client.post("/account/password/", data, REMOTE_ADDR="192.0.2.1")
    assert "Too many attempts" in page.content.decode()


def test_a_superuser_by_command(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's command judges what is typed, as the pages do; from the environment it does not."""
    from django.contrib.auth.management.commands import createsuperuser

    typed = iter(["password1234", "password1234", NEW, NEW])
    monkeypatch.setattr(createsuperuser.getpass, "getpass", lambda *args: next(typed))
    monkeypatch.setattr("builtins.input", lambda *args: "n")
    try:
        call_command("createsuperuser", username="root", email="", stdin=_Terminal())
    except CommandError as error:  # pragma: no cover
        pytest.fail(str(error))
    assert list(typed) == []


class _Terminal:
    def isatty(self) -> bool:
        return True
