"""Tokens that are replaced, and the owner's way to the database."""

from typing import Any

from django.db import connection, connections

from tests.admission.desk import Desk
from workorders import tokens
from workorders.models import ServiceToken


def token_of(desk: Desk) -> ServiceToken:
    return ServiceToken.objects.get(digest=tokens.digest(desk.token))


def rotated(desk: Desk, **more: Any) -> Desk:
    """A desk with the successor."""
    _, text = tokens.rotate(token_of(desk).pk, **{"by": "ops", "reason": "a test", **more})
    return Desk(token=text)


def owner_of(database: str) -> dict[str, Any]:
    result = connections["owner"].get_connection_params()
    assert connection.settings_dict["NAME"] == database
    return {
        name: result[name]
        for name in ("host", "port", "user", "password", "dbname")
        if name in result
    }
