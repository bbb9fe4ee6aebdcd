"""Every address of the site, as the URL configuration has it, and who goes there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection
from django.test import Client
from django.urls import URLPattern, get_resolver

from tests import factories
from tests.access import expectations
from tests.admin.scene import ROLES, Scene

ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")
BACKEND = "django.contrib.auth.backends.ModelBackend"
# Rows of these come and go by logging in; nobody calls them data of this service.
TALLY = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text))"
NOT_COUNTED = ("django_session", "sign_in_tries", "usersessions_%")


@dataclass(frozen=True)
class Address:
    """`name` is what the tables say: the name with its namespace, or the route."""

    name: str
    route: str

    def path(self, scene: Scene) -> str:
        wanted = {one or other for one, other in ARGUMENT.findall(self.route)}
        result = expectations.arguments(scene, self.name, wanted) if wanted else {}

        def value(match: "re.Match[str]") -> str:
            return str(result[match[1] or match[2]])

        return "/" + re.sub(r"[\^$]", "", ARGUMENT.sub(value, self.route))


@cache
def addresses() -> tuple[Address, ...]:
    return tuple(_walk(get_resolver().url_patterns, "", ""))


def _walk(patterns: list[Any], route: str, space: str) -> Iterator[Address]:
    for pattern in patterns:
        here = route + str(pattern.pattern)
        if not isinstance(pattern, URLPattern):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from _walk(pattern.url_patterns, here, inner)
        elif pattern.name is None and here.endswith("/<path:object_id>/"):
            continue  # Django's redirect of addresses from before 1.9, to the page that is counted
        else:
            yield Address(space + pattern.name if pattern.name else here, here)


def logged_in(person: Any) -> Client:
    """A browser without a guard: only what the server itself refuses counts."""
    client = Client(raise_request_exception=True, enforce_csrf_checks=False)
    client.force_login(person, backend=BACKEND)
    return factories.confirmed(client, person)


PEOPLE = (*ROLES, "nobody", "root", "off", "no staff", "anonymous")


def client_of(scene: Scene, who: str) -> Client:
    """Each kind of person: the groups, nobody in particular, off, no staff, and a superuser."""
    if who == "anonymous":
        return Client()
    if who == "no staff":
        return logged_in(factories.make_user("no-staff", groups=ROLES))
    if who == "off":
        off = factories.make_user("off", groups=ROLES, is_staff=True, is_superuser=True)
        client = logged_in(off)
        off.is_active = False
        off.save()
        return client
    return logged_in(scene.people[who])


def rows_of_everything(*, without: str = "") -> dict[str, Any]:
    """Number and hash of the rows of every table; `without` is a pattern of kinds of events that
    are left out."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND NOT c.relname LIKE ANY (%s) ORDER BY 1",
            [list(NOT_COUNTED)],
        )
        for (table,) in cursor.fetchall():
            left_out = f"WHERE kind !~ '^({without or 'NONE'})$'"
            where = left_out if table == "operations_events" else ""
            cursor.execute(f'{TALLY} FROM "{table}" t {where}')
            found[table] = cursor.fetchone()
    return found
