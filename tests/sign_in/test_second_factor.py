"""A second factor where one is needed: one rule for pages, the admin and the API."""

import json
import time

import pyotp
import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import hotp_value
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import NoReverseMatch, reverse

from config.sign_in.adapters import keys
from opslog.models import OperationsEvent
from tests.access import expectations, walking
from tests.admin.scene import ROLES, make_scene
from tests.factories import confirmed
from tests.sign_in.people import (
    BACKEND,
    PASSWORD,
    is_in,
    person,
    set_up_app,
    signed_in,
    try_to_sign_in,
)

pytestmark = pytest.mark.django_db
DECIDE_OR_ADMINISTER = {"operations", "director", "finance", "vp", "administrator"}


@pytest.fixture(autouse=True)
def required(settings: LazySettings, request: pytest.FixtureRequest) -> None:
    settings.TOLLGATE_REQUIRE_MFA = "without" not in request.keywords


def kinds() -> list[str]:
    found = OperationsEvent.objects.filter(kind__contains="FACTOR")
    return [f"{event.kind} {event.meta['factor']}" for event in found.order_by("id")]


def code_page(client: Client, code: str) -> str:
    return client.post("/account/login/code/", {"code": code}, follow=True).content.decode()


@pytest.mark.parametrize("role", ROLES)
def test_who_decides_or_administers_needs_one(role: str) -> None:
    person("ada", role)
    assert is_in(signed_in("ada")) == (role not in DECIDE_OR_ADMINISTER)


def test_a_superuser_needs_one() -> None:
    person("ada", is_superuser=True)
    assert not is_in(signed_in("ada"))


def test_which_groups_is_a_setting(settings: LazySettings) -> None:
    settings.TOLLGATE_MFA_GROUPS = ["auditor"]
    person("ada", "auditor")
    person("bob", "vp")
    assert not is_in(signed_in("ada"))
    assert is_in(signed_in("bob"))


def test_without_it_nothing_opens_but_enrolment_and_the_way_out() -> None:
    """Every address of the site; a new one is closed without a line anywhere."""
    scene = make_scene()
    client = confirmed(walking.logged_in(scene.people["root"]), scene.people["root"])
    before = walking.rows_of_everything(without="USER_LOGGED_(IN|OUT)")
    opened = set()
    for address in walking.addresses():
        for method in ("GET", "POST"):
            body = ""
            if address.name in expectations.MACHINES:
                body = json.dumps(expectations.MACHINES[address.name].body)
            answer = client.generic(method, address.path(scene), body, "application/json")
            closed = answer.status_code in (401, 403, 405) or (
                answer.status_code == 302 and answer.headers["Location"] == "/account/factors/"
            )
            if not closed:
                opened.add(address.name)
        if "logout" in address.name:
            client = confirmed(walking.logged_in(scene.people["root"]), scene.people["root"])
            before["auth_user"] = walking.rows_of_everything()["auth_user"]
    assert opened <= {
        *expectations.OPEN,
        "account-link",
        "account_logout",
        "admin:logout",
        *(name for name in expectations.ACCOUNT | expectations.DOOR if name.startswith("mfa_")),
        "account_reauthenticate",
        "account_confirmed_by_sso",
        "account_confirm_by_sso",
        "openid_connect_callback",
    }
    assert walking.rows_of_everything(without="USER_LOGGED_(IN|OUT)") == before


def test_the_api_says_which_way_is_closed() -> None:
    person("ada", "operations")
    client = signed_in("ada")
    for method, path in (("GET", "/api/cap-changes"), ("POST", "/api/llm/killswitch")):
        answer = client.generic(method, path, "{}", "application/json")
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "second_factor")
        assert list(answer.json()) == ["error"]


def test_enrolment_opens_and_signing_in_asks_for_it() -> None:
    person("ada", "operations")
    client = signed_in("ada")
    assert client.get("/admin/").headers["Location"] == "/account/factors/"
    app, codes = set_up_app(client)
    assert len(set(codes)) == 10
    assert is_in(client)
    assert kinds() == ["SECOND_FACTOR_ADDED totp", "SECOND_FACTOR_ADDED recovery_codes"]
    client.post("/account/logout/")

    again = Client()
    answer = try_to_sign_in(again, "ada")
    assert answer.headers["Location"] == "/account/login/code/"
    assert not is_in(again)  # the password is half of it
    assert "Incorrect code" in code_page(again, "000000")
    code_page(again, app.now())
    assert is_in(again)


def test_a_code_counts_once() -> None:
    person("ada", "operations")
    app, _ = set_up_app(signed_in("ada"))
    with time_machine.travel("2026-11-28 12:00:00+00:00", tick=False):
        code = app.now()
        first, second = Client(), Client()
        for client in (first, second):
            try_to_sign_in(client, "ada")
            code_page(client, code)
        assert is_in(first)
        assert not is_in(second)


def test_codes_cannot_be_guessed_for_long() -> None:
    person("ada", "operations")
    app, _ = set_up_app(signed_in("ada"))
    client = Client()
    try_to_sign_in(client, "ada")
    for number in range(10):
        code_page(client, f"{number:06}")
    assert "Too many attempts" in code_page(client, app.now())
    assert not is_in(client)


def test_a_recovery_code_counts_once_and_is_told() -> None:
    person("ada", "operations")
    _, codes = set_up_app(signed_in("ada"))
    for expected in (True, False):
        client = Client()
        try_to_sign_in(client, "ada")
        code_page(client, codes[0])
        assert is_in(client) is expected
    assert OperationsEvent.objects.get(kind="RECOVERY_CODE_USED").actor == "ada"


def test_recovery_codes_are_shown_once() -> None:
    person("ada", "operations")
    client = signed_in("ada")
    _, codes = set_up_app(client)
    client.post("/account/confirm/", {"password": PASSWORD})
    page = client.get("/account/factors/recovery-codes/").content.decode()
    assert not any(code in page for code in codes)


def test_a_session_from_before_shows_it_first() -> None:
    """Somebody had the password, and a session, before the person set up a factor."""
    person("ada", "operations")
    early = signed_in("ada")
    app, _ = set_up_app(signed_in("ada"))
    assert early.get("/admin/").headers["Location"] == "/account/confirm/code/?next=/admin/"
    early.post("/account/confirm/code/?next=/admin/", {"code": "000000"})
    assert not is_in(early)
    early.post("/account/confirm/code/?next=/admin/", {"code": app.now()})
    assert is_in(early)


@pytest.mark.parametrize("needed", [True, False])
def test_a_session_from_before_sets_up_no_factor_of_its_own(
    settings: LazySettings, needed: bool
) -> None:
    """Not even with the password: that is what somebody has who stole it."""
    settings.TOLLGATE_REQUIRE_MFA = needed
    ada = person("ada", "operations")
    early = signed_in("ada")
    set_up_app(signed_in("ada"))
    early.post("/account/confirm/", {"password": PASSWORD})
    for page in ("factors/passkeys/add/", "factors/app/remove/", "factors/recovery-codes/new/"):
        for method in ("GET", "POST"):
            answer = early.generic(method, f"/account/{page}")
            wanted = f"/account/confirm/code/?next=/account/{page}"
            assert answer.headers["Location"] == wanted, (page, method)
    assert Authenticator.objects.filter(user=ada).count() == 2


def test_the_last_one_stays_with_who_needs_one() -> None:
    ada = person("ada", "operations")
    client = signed_in("ada")
    set_up_app(client)
    confirmed_session = client.post("/account/confirm/", {"password": PASSWORD})
    assert confirmed_session.status_code == 302
    client.post("/account/factors/app/remove/")
    assert Authenticator.objects.filter(user=ada, type="totp").exists()
    assert "SECOND_FACTOR_REMOVED totp" not in kinds()


@pytest.mark.without
def test_who_needs_none_may_remove_theirs() -> None:
    ada = person("ada", "operations")
    client = signed_in("ada")
    set_up_app(client)
    client.post("/account/confirm/", {"password": PASSWORD})
    assert client.post("/account/factors/app/remove/").status_code == 302
    assert not Authenticator.objects.filter(user=ada).exists()
    assert kinds()[2:] == ["SECOND_FACTOR_REMOVED totp", "SECOND_FACTOR_REMOVED recovery_codes"]


@pytest.mark.without
def test_without_the_setting_nobody_is_asked() -> None:
    person("ada", "vp", is_superuser=True)
    assert is_in(signed_in("ada"))


def test_secrets_of_apps_are_not_readable_in_the_table() -> None:
    ada = person("ada", "operations")
    app, _ = set_up_app(signed_in("ada"))
    stored = json.dumps(list(Authenticator.objects.filter(user=ada).values("data")))
    assert app.secret not in stored
    assert pyotp.random_base32() not in stored


def test_another_secret_key_opens_nothing(settings: LazySettings) -> None:
    """Neither with the codes of before, nor with those that an empty secret would have."""
    ada = person("ada", "operations")
    app, codes = set_up_app(signed_in("ada"))
    settings.SECRET_KEY = "another one, of some length, as it has to be"
    nothing = f"{hotp_value('', int(time.time()) // 30):06}"
    of_nothing = RecoveryCodes(Authenticator.objects.get(user=ada, type="recovery_codes"))
    of_nothing.instance.data["seed"] = keys().encrypt(b"").decode()
    for code in (app.now(), codes[0], nothing, of_nothing.generate_codes()[0]):
        client = Client()
        try_to_sign_in(client, "ada")
        code_page(client, code)
        assert not is_in(client), code


def test_an_administrator_removes_nobodys(client: Client) -> None:
    """No page does; the command that does leaves an event."""
    admin = User.objects.create_superuser("root")
    client.force_login(admin, backend=BACKEND)
    names = {address.name for address in walking.addresses()}
    assert not {name for name in names if "authenticator" in name}
    with pytest.raises(NoReverseMatch):
        reverse("admin:mfa_authenticator_changelist")
