"""No page answers 500 to any query string: every address, every parameter that it reads."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client

from opslog.admin.base import parse_day
from tests import factories
from tests.access import expectations, walking
from tests.admin.scene import make_scene

# Names that a changelist reads in ways of its own, and a look-up of another table's secret.
OF_LISTS = ("q", "o", "p", "all", "e", "_popup", "_to_field", "_facets", "_changelist_filters")
LOOKUPS = ("id__in", "pk__gt", "owner__password__startswith", "user__password__regex", "x__y__z")
HOSTILE = (
    "",
    "-1",
    "0",
    "9" * 30,
    "9" * 400,
    "1e400",
    "NaN",
    "%D9%A3",  # a digit of another script
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00%2B14:00",
    "9999-12-31T23:59:59-14:00",
    "%FF%FE",
    "%ED%A0%80",  # half of a surrogate pair
    "%F0%9F%98%80",
    "%5B%5D",
    "%27%22%3B--%25%5C",
    "(",
    "x" * 5000,
)
WORST = ("", "9" * 30, "0001-01-01", "9999-12-31")
PARTS = 4  # of the addresses, so that the suite's processes share them
WHOLE = (
    *("%", "&&&=&", "%00=%00", "day=a%00b", "a=1&a=2&a=%FF", "x[]=1&x[a]=2"),
    "&".join(f"k{n}=1" for n in range(1500)),
)


@contextmanager
def noted(names: set[str], patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Notes which parameters are asked for meanwhile."""
    with patch.context() as here:
        for method in ("get", "__getitem__", "getlist", "__contains__", "pop"):
            original = getattr(QueryDict, method)

            def noting(self: Any, key: Any, *args: Any, _original: Any = original) -> Any:
                names.add(str(key))
                return _original(self, key, *args)

            here.setattr(QueryDict, method, noting)
        yield


def parameters(
    client: Client, path: str, headers: dict[str, str], patch: pytest.MonkeyPatch
) -> list[str]:
    """What the page of that address reads of its query string."""
    names: set[str] = set()
    with noted(names, patch):
        answer = client.get(path, headers=headers)
        if answer.streaming:
            answer.getvalue()
    shown = getattr(answer, "context", None)
    changelist = shown.get("cl") if shown else None
    if changelist is not None:
        names.update(OF_LISTS, LOOKUPS)
        for spec in changelist.filter_specs:
            names.update(spec.expected_parameters())
    return sorted(name for name in names if re.fullmatch(r"\w+", name))


def queries(names: list[str]) -> Iterator[str]:
    """Each parameter meets each value, in company; the worst also alone, because what is refused
    first hides what would break after it."""
    for turn in range(len(HOSTILE)):
        values = [HOSTILE[(place + turn) % len(HOSTILE)] for place in range(len(names))]
        yield "&".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
    for name in names:
        if name not in OF_LISTS and name not in LOOKUPS:
            yield from (f"{name}={value}" for value in WORST)
    yield from WHOLE


@pytest.mark.parametrize("part", range(PARTS))
def test_no_query_string_is_an_error(db: None, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    scene = make_scene()
    client = walking.logged_in(scene.people["root"])
    client.raise_request_exception = False
    _, token = factories.make_token(expectations.SCOPES)
    broken, read = [], 0
    for address in walking.addresses()[part::PARTS]:
        if address.name == "admin:logout":
            continue
        path = address.path(scene)
        headers = {"X-Api-Key": token} if path.startswith(("/api/", "/v1/")) else {}
        names = parameters(client, path, headers, monkeypatch)
        read += len(names)
        for query in queries(names):
            answer = client.get(f"{path}?{query}", headers=headers)
            if answer.streaming:
                answer.getvalue()
            if answer.status_code == 500:
                broken.append((address.name, query[:80]))
    assert broken == []
    assert read > 500 / PARTS  # what this test is about was found


def test_a_day_without_neighbours_is_none() -> None:
    for text in (
        "0001-01-01",
        "1999-12-31",
        "3000-01-01",
        "9999-12-31",
        "2026-02-30",
        "x",
        "",
        None,
    ):
        assert parse_day(text) is None
    assert parse_day("2000-01-01") == date(2000, 1, 1)
