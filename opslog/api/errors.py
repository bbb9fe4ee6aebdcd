"""The one shape of an error: `{"error": "…"}`, and `fields` where some were bad."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.utils import DatabaseError, DataError, InterfaceError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response

from opslog.exceptions import Overloaded, Unavailable, Unconfirmed

log = logging.getLogger("tollgate.api")
UNCONFIRMED = "the standby has not confirmed the change: check whether it was made, then repeat it"


class BadRequest(exceptions.APIException):
    """Bad input, by field: `fields` maps a field's name to what is wrong with it."""

    status_code = status.HTTP_400_BAD_REQUEST

    def __init__(self, error: str, fields: dict[str, list[str]] | None = None) -> None:
        super().__init__(error)
        self.fields = fields or {}


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "the request body is too large"


class TokenDenied(exceptions.APIException):
    """A token that is not good for this request: 401 or 403."""

    def __init__(self, status_code: int, denial: str, error: str) -> None:
        super().__init__(error)
        self.status_code = status_code
        self.denial = denial


def undecided(error: Exception) -> tuple[dict[str, str], dict[str, str]]:
    """Body and headers of a 503."""
    headers = {"Tollgate-Denial": "overloaded"} if isinstance(error, Overloaded) else {}
    headers["Retry-After"] = str(getattr(error, "retry_after", 1))
    return {"error": "the budget authority is unavailable: nothing was decided"}, headers


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook. Returns None, which is a 500, for what nobody foresaw."""
    headers: dict[str, str] = {}
    match error:
        case DataError():
            log.warning("input that only the database refused", exc_info=error)
            return Response({"error": "bad input"}, status=400)
        case Unconfirmed():
            log.error("the synchronous standby did not confirm a change")
            headers["Retry-After"] = "1"
            return Response({"error": UNCONFIRMED}, status=503, headers=headers)
        case Unavailable() | DatabaseError() | InterfaceError():
            # A change that could not be written with its record was not made.
            if not isinstance(error, Unavailable):
                log.error("database error", exc_info=error)
            content, headers = undecided(error)
            return Response(content, status=503, headers=headers)
        case BadRequest():
            body: dict[str, Any] = {"error": str(error.detail)}
            if error.fields:
                body["fields"] = error.fields
            return Response(body, status=400)
        case TokenDenied():
            headers["Tollgate-Denial"] = error.denial
            if error.status_code == 401:
                headers["WWW-Authenticate"] = "Bearer"
            return Response({"error": str(error.detail)}, status=error.status_code, headers=headers)
        case exceptions.ValidationError():
            return Response({"error": "bad input", "fields": _fields(error.detail)}, status=400)
        case Http404():
            return Response({"error": "not found"}, status=404)
        case PermissionDenied():
            return Response({"error": "not allowed"}, status=403)
        case exceptions.APIException():
            if wait := getattr(error, "wait", None):
                headers["Retry-After"] = str(int(wait))
            return Response({"error": str(error.detail)}, status=error.status_code, headers=headers)
    return None


def _fields(detail: Any) -> dict[str, list[str]]:
    if isinstance(detail, dict):
        return {
            str(name): [str(text) for text in (errors if isinstance(errors, list) else [errors])]
            for name, errors in detail.items()
        }
    return {"": [str(text) for text in (detail if isinstance(detail, list) else [detail])]}
