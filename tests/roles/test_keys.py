"""What SECRET_KEY is a key to, and what shows a counter that was lowered."""

import pytest
from django.conf import settings as configured
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from pytest_django import Settings

from budgets.admission import counters
from tests import factories
from tests.admission.desk import Desk
from tests.trail import meta_of, trail


def session_of(user: User) -> str:
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = configured.AUTHENTICATION_BACKENDS[-1]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return str(store.session_key)


def is_in(key: str) -> bool:
    client = Client()
    client.cookies[configured.SESSION_COOKIE_NAME] = key
    return client.get("/admin/").status_code == 200


@pytest.fixture
def boss(db: None) -> User:
    return factories.make_user("boss", is_staff=True, is_superuser=True)


def test_whoever_signs_sessions_is_anybody(boss: User) -> None:
    assert is_in(session_of(boss))


def test_a_session_signed_with_another_key_is_nobodys(boss: User, settings: Settings) -> None:
    own = settings.SECRET_KEY
    settings.SECRET_KEY = "of another installation"
    key = session_of(boss)
    settings.SECRET_KEY = own
    assert Session.objects.filter(pk=key).exists()
    assert not is_in(key)


def test_a_counter_that_was_lowered_is_found(committed_db: str) -> None:
    factories.make_work_order("w1")
    factories.make_agent()
    assert Desk().start().status == 201
    assert list(counters.differences()) == []
    with connection.cursor() as cursor:
        cursor.execute("UPDATE counters SET reserved_usd = 0 WHERE subject = 'w1'")
    assert {each.subject for each in counters.differences()} == {"w1"}
    counters.repair(by="ops", reason="somebody lowered it")
    assert list(counters.differences()) == []
    assert trail("COUNTERS_REPAIRED") == [("COUNTERS_REPAIRED", "", "ops")]
    meta = meta_of("COUNTERS_REPAIRED")
    assert meta["reason"] == "somebody lowered it"
    assert all("w1" in each["key"] for each in meta["counters"])
    assert all(each["old"] != each["new"] for each in meta["counters"])
