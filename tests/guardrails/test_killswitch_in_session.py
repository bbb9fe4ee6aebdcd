"""Reading the kill switches in a session: who may read them in the admin, and nobody else."""

import pytest
from django.test import Client

from tests import factories


@pytest.mark.parametrize(("groups", "status"), [((), 403), (("auditor",), 200)])
def test_reading_needs_the_permission_of_the_page(
    db: None, groups: tuple[str, ...], status: int
) -> None:
    client = Client()
    client.force_login(
        factories.make_user("somebody", groups=groups),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    assert client.get("/api/llm/killswitch").status_code == status
