"""`opslog.I001` tells who really owns the log, whatever the settings say."""

import pytest
from django.conf import settings
from django.core.checks import Info
from django.db import connections

from opslog.checks import two_roles


def found() -> list[str]:
    return [str(message.id) for message in two_roles(databases=["default"])]


@pytest.mark.django_db
def test_two_roles_are_no_finding() -> None:
    assert found() == []


@pytest.mark.django_db
def test_names_in_the_settings_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    user = settings.DATABASES["default"]["USER"]
    monkeypatch.setitem(settings.DATABASES["owner"], "USER", user)
    assert found() == []


def test_the_owner_of_the_log_is_told(committed_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("USER", "PASSWORD"):
        result = connections["owner"].settings_dict[part]
        monkeypatch.setitem(connections["default"].settings_dict, part, result)
    [message] = two_roles(databases=["default"])
    assert isinstance(message, Info)
    assert found() == ["opslog.I001"]


def test_before_the_first_migration_there_is_none(committed_db: str) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute("DROP TABLE operations_events CASCADE")
    assert found() == []


def test_without_a_database_nothing_is_asked() -> None:
    assert two_roles() == []
