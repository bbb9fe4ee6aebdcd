"""Imports what needs Django's settings late: this file is read before they are known."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_django import DjangoDbBlocker

if TYPE_CHECKING:
    from tests.client.harness import Gate, Program, Real


@pytest.fixture(autouse=True)
def own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def service(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> "Iterator[Real]":
    from tests.client.harness import real_service

    with real_service(pristine_database, django_db_blocker) as real:
        yield real


@pytest.fixture
def real(service: "Real") -> "Real":
    return service.for_a_test()


@pytest.fixture
def gate(real: "Real") -> "Iterator[Gate]":
    from tests.client.harness import gate_to

    with gate_to(real.url) as gate:
        yield gate


@pytest.fixture
def program(real: "Real", tmp_path: Path) -> "Callable[[str], Program]":
    from tests.client.harness import Program

    return lambda url: Program(url, real.token, tmp_path)
