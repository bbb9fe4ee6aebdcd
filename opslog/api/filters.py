"""Filters of lists: unknown ones are refused, since a misspelt filter shows the wrong rows."""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.enums import Choices
from django.utils.dateparse import parse_datetime
from django_filters import IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework.request import Request

from opslog.api.errors import BadRequest

PAGING = {"limit", "cursor"}


def in_utc(moment: datetime) -> datetime:
    """The same moment; PostgreSQL takes fewer offsets than Python, whose years end at 9999.

    Raises ValidationError for a moment that has no name in UTC.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValidationError("Enter a valid date/time.", code="invalid") from None


class MomentField(IsoDateTimeField):
    """A moment names its zone: a program that leaves it out may mean any."""

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        try:
            moment = parse_datetime(str(value).strip())
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValidationError("Enter a time with its zone, like 2026-11-28T10:00:00Z.")
        return in_utc(moment)


@extend_schema_field(
    {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 0}]}
)
class MomentFilter(IsoDateTimeFilter):
    """Empty: no bound, as a form sends it."""

    field_class = MomentField


class ChoiceFilter(django_filters.ChoiceFilter):
    """Empty: no filter, as a form sends it."""

    def __init__(self, *args: Any, choices: type[Choices], **kwargs: Any) -> None:
        super().__init__(*args, choices=choices.choices, **kwargs)
        one = {"type": "string", "enum": choices.values}
        empty = {"type": "string", "maxLength": 0}
        set_override(self, "field", {"anyOf": [one, empty]})


class KnownFiltersOnly(DjangoFilterBackend):
    """As its base; a view that takes more parameters names them in `more_parameters`."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filters = getattr(view, "filterset_class", None)
        known = PAGING | set(getattr(view, "more_parameters", ()))
        known |= set(filters.base_filters) if filters else set()
        if unknown := sorted(set(request.query_params) - known):
            raise BadRequest("bad input", {name: ["Unknown parameter"] for name in unknown[:10]})
        return super().filter_queryset(request, queryset, view)
