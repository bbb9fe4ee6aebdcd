"""Filters of lists: unknown ones are refused, since a misspelt filter shows the wrong rows."""

from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.request import Request

from opslog.api.errors import BadRequest

PAGING = {"limit", "cursor"}


class KnownFiltersOnly(DjangoFilterBackend):
    """As its base; a view that takes more parameters names them in `more_parameters`."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filters = getattr(view, "filterset_class", None)
        known = PAGING | set(getattr(view, "more_parameters", ()))
        known |= set(filters.base_filters) if filters else set()
        if unknown := sorted(set(request.query_params) - known):
            raise BadRequest("bad input", {name: ["Unknown parameter"] for name in unknown[:10]})
        return super().filter_queryset(request, queryset, view)
