"""Whoever reads the runbooks."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client

PERMISSIONS = (
    *("view_contact", "add_contact", "change_contact"),
    *("view_hotspot", "view_dimensionbudget", "view_monthlyreview"),
)


@pytest.fixture
def client(db: None) -> "Client":
    # Models are there only after pytest has read this file.
    from django.test import Client

    from tests import factories

    person = factories.make_user("ops", groups=["operations"], is_staff=True, email="o@example.com")
    for name in PERMISSIONS:
        person.user_permissions.add(factories.permission("budgets", name))
    made = Client()
    made.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return made
