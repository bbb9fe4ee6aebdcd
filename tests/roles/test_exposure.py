"""The catalogue is walked: what is more than the application's role should have is found, each kind."""

import re

import pytest
from django.conf import settings
from django.core.checks import Warning
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from opslog.checks import the_application_has_no_more_than_it_needs as check
from opslog.database import exposure, routines
from tests.factories import inside

APP = str(settings.DATABASES["default"]["USER"])


def test_as_migrated_there_is_nothing(migrated: str, django_db_blocker: DjangoDbBlocker) -> None:
    with inside(migrated, django_db_blocker):
        assert exposure.problems() == []
        assert check(databases=["default"]) == []


def test_the_list_of_definers_is_that_of_the_files() -> None:
    """Who adds one adds it to the list, and thinks about what it takes."""
    named = {
        each.name
        for each in routines.statements()
        if each.kind == "FUNCTION" and re.search(r"\bSECURITY DEFINER\b", each.text)
    }
    assert named == exposure.DEFINERS


BREACHES = [
    ("CREATE FUNCTION tollgate.x() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
     ["tollgate.x may be executed by everybody", "tollgate.x has no fixed search_path"]),
    (("CREATE FUNCTION tollgate.x() RETURNS int LANGUAGE sql SECURITY DEFINER "
     "SET search_path = pg_catalog, pg_temp AS 'SELECT 1'; "
     "REVOKE EXECUTE ON FUNCTION tollgate.x() FROM PUBLIC"),
     ["tollgate.x runs with its owner's rights and is not listed"]),
    ("ALTER FUNCTION tollgate.stamp_event() SET search_path = pg_temp, public",
     ["tollgate.stamp_event has no fixed search_path"]),
    ("GRANT EXECUTE ON FUNCTION tollgate.settle TO PUBLIC",
     ["tollgate.settle may be executed by everybody"]),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", ["the role has CREATE on schema public"]),
    ("GRANT CREATE ON SCHEMA tollgate TO APP", ["the role has CREATE on schema tollgate"]),
    ("DO $$BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END$$",
     ["the role has TEMPORARY on the database"]),
    ("GRANT UPDATE ON operations_events TO APP", ["the role has UPDATE on operations_events"]),
    ("GRANT DELETE ON operations_events_default TO PUBLIC",
     ["the role has DELETE on operations_events_default"]),
    ("GRANT TRUNCATE ON counters TO APP", ["the role has TRUNCATE on counters"]),
    ("GRANT TRIGGER ON counters TO APP", ["the role has TRIGGER on counters"]),
    ("GRANT UPDATE ON work_order_runs TO APP", ["the role has UPDATE on work_order_runs"]),
    ("GRANT INSERT ON auth_permission TO APP", ["the role has INSERT on auth_permission"]),
    ("GRANT INSERT ON tollgate.installed TO APP", ["the role has INSERT on installed"]),
    ("GRANT UPDATE ON SEQUENCE event_numbers TO APP", ["the role has UPDATE on event_numbers"]),
    ("GRANT SELECT ON counters TO APP WITH GRANT OPTION", ["APP may grant privileges on counters"]),
    ("GRANT pg_signal_backend TO APP", None),
    ("DROP TRIGGER append_only ON operations_events", ["operations_events has no trigger append_only"]),
    ("ALTER TABLE operations_events_default DISABLE TRIGGER append_only_truncate",
     ["operations_events_default has no trigger append_only_truncate"]),
    ("ALTER TABLE operations_events DISABLE TRIGGER stamp",
     ["operations_events has no trigger stamp"]),
    (("CREATE TABLE operations_events_1999 PARTITION OF operations_events "
     "FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')"),
     ["operations_events_1999 has no trigger append_only_truncate"]),
    ("CREATE FUNCTION public.x() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
     ["x() runs with its owner's rights"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("breach", "result"), BREACHES, ids=[breach[:60] for breach, _ in BREACHES]
)
def test_each_breach_is_found(
    migrated: str, django_db_blocker: DjangoDbBlocker, breach: str, result: list[str] | None
) -> None:
    with inside(migrated, django_db_blocker), transaction.atomic(using="owner"):
        with connections["owner"].cursor() as cursor:
            if result is None:  # the owner cannot give roles away, and so makes no member of one
                with pytest.raises(Exception, match="permission denied"):
                    cursor.execute(breach.replace("APP", APP))
                transaction.set_rollback(True, using="owner")
                return
            cursor.execute(breach.replace("APP", APP))
        found = exposure.problems("owner")
        assert set(found) >= {each.replace("APP", APP) for each in result}
        transaction.set_rollback(True, using="owner")


def test_of_the_role_itself() -> None:
    assert exposure.of_the_role([(["CREATEDB"], ["tollgate_owner"])]) == [
        "the role has CREATEDB",
        "the role is a member of tollgate_owner",
    ]


def test_a_clone_has_no_privileges_of_its_own(committed_db: str) -> None:
    """A database made from a template, or restored, lets everybody make temporary tables again."""
    [message] = check(databases=["default"])
    assert isinstance(message, Warning)
    assert (message.id, "TEMPORARY" in message.msg) == ("opslog.W001", True)


@pytest.mark.django_db
def test_every_column_of_an_account_and_of_a_token_is_watched() -> None:
    """Or is on the list of those that need not be."""
    unwatched = {
        "auth_user": {"last_login", "date_joined"},
        "service_tokens": {"created_at"},
    }
    with connections["default"].cursor() as cursor:
        for table, excused in unwatched.items():
            cursor.execute(
                "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = %s::regclass "
                "AND a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM pg_trigger t "
                "WHERE t.tgrelid = a.attrelid AND t.tgname LIKE 'record_%%' "
                "AND a.attnum = ANY (t.tgattr::int2[]))",
                [table],
            )
            assert {name for (name,) in cursor.fetchall()} == excused
