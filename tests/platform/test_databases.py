"""The databases that the tests themselves stand on."""

import threading

import psycopg
import pytest
from django.db import connection, connections

from config.run.scratch import ScratchService


def whoami() -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        user, database = cursor.fetchone()
        return user, database


@pytest.mark.django_db
def test_tests_run_as_the_application() -> None:
    user, database = whoami()
    assert user == connections["default"].settings_dict["USER"]
    assert user != connections["owner"].settings_dict["USER"]
    assert database.startswith("test_")


@pytest.mark.django_db
def test_the_application_makes_no_tables() -> None:
    with pytest.raises(Exception, match="permission denied"), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mine ()")


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_committed_db_is_fresh(committed_db: str, attempt: int) -> None:
    """Threads reach it, commits are real, and the next one knows nothing of it."""
    seen = []

    def look() -> None:
        seen.append(whoami())
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(connections["default"].settings_dict["USER"], committed_db)]
    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE left_by_a_test ()")


def test_the_service_has_a_database_of_its_own(service: ScratchService) -> None:
    with psycopg.connect(service.app_url) as database:
        assert database.info.dbname == service.database
        assert not service.database.startswith("test_")
