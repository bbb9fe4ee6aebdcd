"""Pages by key, not by number: page one thousand costs what page one costs."""

from base64 import b64decode
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from opslog.api.errors import BadRequest
from opslog.api.filters import in_utc


class KeysetPagination(CursorPagination):
    """Takes `limit` and `cursor`, and says so when one of them is nonsense."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200
    model: type[Model]

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= self.max_page_size):
            raise BadRequest(
                "bad input", {"limit": [f"Expected a whole number from 1 to {self.max_page_size}"]}
            )
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        self.model = queryset.model
        return super().paginate_queryset(queryset, request, view)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """The cursor, whose position is a value of the column that it is compared with."""
        given = request.query_params.get(self.cursor_query_param)
        bad = BadRequest("bad input", {"cursor": ["Expected a cursor of an earlier answer"]})
        try:
            # The base class skips what is not base64, and would show the first page.
            if given is not None and not b64decode(given, validate=True):
                raise bad
            cursor = super().decode_cursor(request)
            position: Any = cursor and cursor.position
            if cursor is None or position is None:
                return cursor
            field = self.model._meta.get_field(self.ordering[0].lstrip("-"))
            value = field.to_python(position)  # type: ignore[union-attr]
            if isinstance(value, datetime):
                position = str(in_utc(value))
        except (NotFound, ValidationError, ValueError):
            raise bad from None
        if "\x00" in position:
            raise bad
        return cursor._replace(position=position)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {"minimum": 1, "maximum": self.max_page_size}
        return parameters


class NewestEventsFirst(KeysetPagination):
    """In the order of the log's indexes."""

    ordering = ("-created_at", "-id")
