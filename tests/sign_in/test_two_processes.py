"""One count over two web processes: real servers, asked from several addresses of this machine."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService, scratch_service
from opslog import sign_in
from opslog.models import SignInTries
from tests import factories
from tests.sign_in.people import PASSWORD, person
from tests.waiting import HANG_SECONDS


@pytest.fixture(scope="module")
def two(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[ScratchService]:
    with scratch_service(template=pristine_database, workers=2) as service:
        with factories.inside(service.database, django_db_blocker):
            for name in ("ada", "ben"):
                person(name, "operations")
        yield service


class Browser(httpx2.Client):
    """Asks from that address."""

    def __init__(self, service: ScratchService, address: str) -> None:
        way = httpx2.HTTPTransport(local_address=address)
        super().__init__(base_url=service.url, transport=way, timeout=HANG_SECONDS)

    def signs_in(self, name: str, password: str) -> int:
        self.get("/account/login/")
        form = {
            "login": name,
            "password": password,
            "csrfmiddlewaretoken": self.cookies["csrftoken"],
        }
        return self.post("/account/login/", data=form).status_code


def all_at_once(browsers: list[tuple[Browser, str, str]]) -> Counter[int]:
    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(lambda each: each[0].signs_in(each[1], each[2]), browsers))


def test_random_names_of_one_address(two: ScratchService) -> None:
    tries = [(Browser(two, "127.0.0.7"), f"n{number}", "x") for number in range(40)]
    assert all_at_once(tries) == {
        200: sign_in.ADDRESS_TRIES,
        429: 40 - sign_in.ADDRESS_TRIES,
    }
    # Somebody else gets in meanwhile.
    assert Browser(two, "127.0.0.8").signs_in("ben", PASSWORD) == 302


def test_one_name_of_many_addresses_and_its_own_person(
    two: ScratchService, django_db_blocker: DjangoDbBlocker
) -> None:
    own = Browser(two, "127.0.0.9")
    assert own.signs_in("ada", PASSWORD) == 302
    own.cookies.delete("sessionid")
    tries = [(Browser(two, f"127.0.1.{number}"), "ada", "wrong") for number in range(1, 41)]
    looked_at = all_at_once(tries)[200]
    # Five, one more, and one for each pause that ends while they are at it.
    with factories.inside(two.database, django_db_blocker):
        row = SignInTries.objects.get(key=f"name:{sign_in.name_key('ada')}")
    assert looked_at == row.tries < 15
    assert Browser(two, "127.0.2.1").signs_in("ada", PASSWORD) == 429
    assert own.signs_in("ada", PASSWORD) == 302
