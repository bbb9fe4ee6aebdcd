"""Pages by key, not by number: page one thousand costs what page one costs."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from django.core.exceptions import ValidationError
from django.db.models import Field, Q
from rest_framework.generics import ListAPIView
from rest_framework.metadata import SimpleMetadata
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from opslog.api.answers import Answer
from opslog.api.errors import BadRequest
from opslog.api.filters import KnownFiltersOnly, in_utc
from opslog.api.schema import register

# What a cursor holds: the columns of the row that it stands after, and whether pages go back.
NAMES = ("p", "i", "r")


class KeysetPagination(CursorPagination):
    """Takes `limit` and `cursor`, and says so when one of them is nonsense.

    The view's `ordering` ends with a unique column, and a cursor names the row it stands after by
    all of them.
    (The base class counts rows where the first column is equal: one that comes or goes among them
    shifted its pages, and beyond a thousand they never ended.)
    """

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= self.max_page_size):
            raise BadRequest(
                "bad input", {"limit": [f"Expected a whole number from 1 to {self.max_page_size}"]}
            )
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        size = self.get_page_size(request)
        self.address = request.build_absolute_uri()
        self.columns: list[tuple[Any, bool]] = [
            (queryset.model._meta.get_field(name.lstrip("-")), name.startswith("-"))
            for name in view.ordering
        ]
        place, back = self._read_cursor(request.query_params.get(self.cursor_query_param))
        if place:
            queryset = queryset.filter(self._beyond(place, back))
        order = [f"{'-' if falls != back else ''}{column.name}" for column, falls in self.columns]
        rows = list(queryset.order_by(*order)[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if back:
            rows.reverse()
        self.has_next, self.has_previous = (True, more) if back else (more, bool(place))
        self.page = rows
        return rows

    def get_next_link(self) -> str | None:
        return self._link(self.page[-1]) if self.has_next and self.page else None

    def get_previous_link(self) -> str | None:
        return self._link(self.page[0], back=True) if self.has_previous and self.page else None

    def _read_cursor(self, given: str | None) -> tuple[list[Any], bool]:
        """The values of the row it stands after, and whether the page before it is meant."""
        if given is None:
            return [], False
        bad = BadRequest("bad input", {"cursor": ["Expected a cursor of an earlier answer"]})
        try:
            text = b64decode(given, validate=True).decode("ascii")
            fields = parse_qs(text, keep_blank_values=True, strict_parsing=True, errors="strict")
            if any(name not in NAMES or len(values) > 1 for name, values in fields.items()):
                raise bad
            texts = [fields[name][0] for name in NAMES[: len(self.columns)] if name in fields]
            whole = "p" in fields and len(texts) + ("r" in fields) == len(fields)
            if not whole or fields.get("r", ["1"]) != ["1"]:
                raise bad
            place = [
                _value(column, text) for (column, _), text in zip(self.columns, texts, strict=False)
            ]
        except (ValidationError, ValueError):
            raise bad from None
        return place, "r" in fields

    def _beyond(self, place: list[Any], back: bool) -> Q:
        """Rows after that place, (a, b) > (x, y); the first column is bounded for its index."""
        first, *rest = self.columns
        beyond = Q(**{self._compared(first, back): place[0]})
        if len(place) < 2:
            return beyond
        ties = Q(**{first[0].name: place[0], self._compared(rest[0], back): place[1]})
        return Q(**{f"{self._compared(first, back)}e": place[0]}) & (beyond | ties)

    def _compared(self, column: tuple[Any, bool], back: bool) -> str:
        return f"{column[0].name}__{'lt' if column[1] != back else 'gt'}"

    def _link(self, row: Any, *, back: bool = False) -> str:
        values = [column.value_to_string(row) for column, _ in self.columns]
        fields = dict(zip(NAMES, values, strict=False)) | ({"r": "1"} if back else {})
        cursor = b64encode(urlencode(fields).encode()).decode("ascii")
        return str(replace_query_param(self.address, self.cursor_query_param, cursor))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {"minimum": 1, "maximum": self.max_page_size}
        return parameters

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        properties = {"next": link, "previous": link, "results": schema}
        page = {"type": "object", "required": list(properties), "properties": properties}
        return register(schema["items"]["$ref"].rpartition("/")[2] + "Page", page)


def _value(column: "Field[Any, Any]", text: str) -> Any:
    """Raises ValidationError, ValueError for a text that is none of the column's values."""
    if "\x00" in text:
        raise ValueError("no text")
    value = column.to_python(text)
    if value in (None, ""):
        raise ValueError("no value")
    column.run_validators(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("no moment")
        return in_utc(value)
    return value


class NoActions(SimpleMetadata):
    """Of OPTIONS. What a POST takes is in the schema; no serializer says it."""

    def determine_actions(self, request: Request, view: Any) -> dict[str, Any]:
        return {}


# Rows in pages, each as an `answer`. (A docstring would be the description of every list.)
class Pages(ListAPIView[Any]):
    answer: type[Answer]
    ordering: tuple[str, ...] = ("-id",)
    pagination_class = KeysetPagination
    metadata_class = NoActions
    filter_backends = (KnownFiltersOnly,)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.answers_of(rows or []))

    def answers_of(self, rows: Any) -> Any:
        return [self.answer.of(row) for row in rows]
