"""Reporting changes, and reading what was reported."""

from typing import Annotated, Literal

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema_view
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response

from opslog.api.answers import Answer, Moment
from opslog.api.errors import BadRequest
from opslog.api.filters import ChoiceFilter, MomentFilter, in_utc
from opslog.api.pagination import Pages
from opslog.api.requests import NAMING, Body, Label, Name, RawJSONParser
from opslog.api.schema import operation
from opslog.models import ChangeMarker
from opslog.models.changes import ChangeKind
from opslog.telemetry import change_markers


class ChangeBody(Body, frozen=True):
    kind: Literal["deploy", "prompt_template", "model_version", "ux_change", "campaign", "other"]
    what: Annotated[str, Meta(min_length=1, max_length=500, pattern=NAMING)]
    happened_at: Moment | None = None
    feature: Label | None = None
    key: Name | None = None


class Change(Answer):
    id: int
    kind: ChangeKind
    what: str
    happened_at: Moment
    feature: Annotated[str, Meta(description="Empty: all features.")]
    key: str | None
    recorded_by: str
    created_at: Moment


class ChangeFilter(django_filters.FilterSet):
    kind = ChoiceFilter(choices=ChangeMarker.Kind)
    feature = django_filters.CharFilter(method="of_feature", max_length=100)
    since = MomentFilter(field_name="happened_at", lookup_expr="gte")
    until = MomentFilter(field_name="happened_at", lookup_expr="lt")

    def of_feature(
        self, queryset: QuerySet[ChangeMarker], name: str, value: str
    ) -> QuerySet[ChangeMarker]:
        """Its own, and those of all features."""
        return queryset.filter(Q(feature=value) | Q(feature=""))


@extend_schema_view(
    get=operation(
        "changes_list",
        "What was changed, newest first",
        tag="reading",
        answers={200: ("A page.", Change)},
    )
)
class ChangeList(Pages):
    answer = Change
    ordering = ("-happened_at", "-id")
    parser_classes = (RawJSONParser,)
    filterset_class = ChangeFilter
    concerns_everything = True
    queryset = ChangeMarker.objects.all()

    @property
    def required_scope(self) -> str:
        return "ingest" if self.request.method == "POST" else "read"

    @operation(
        "change_record",
        "Tell of a change",
        "Drawn on every chart, and named by the triage when one precedes a spike. No "
        "`feature`: of all features. No `happenedAt`: now. With a `key` the same change may be "
        "told again. Kept for good: a change is never edited or deleted.",
        tag="telemetry",
        body=ChangeBody,
        answers={201: ("Recorded.", Change), 200: ("It was recorded before.", Change)},
        errors={409: "The key was told before, of another change."},
        examples={
            "A deploy": {
                "kind": "deploy",
                "what": "search 4.12.0",
                "feature": "search",
                "key": "search-4.12.0",
            }
        },
    )
    def post(self, request: Request) -> Response:
        body = ChangeBody.read(request.data)
        try:
            marker, new = change_markers.record_change(
                kind=body.kind,
                what=body.what,
                by=str(request.user),
                now=timezone.now(),
                happened_at=body.happened_at and in_utc(body.happened_at),
                feature=body.feature or "",
                key=body.key,
            )
        except (change_markers.OutOfReach, ValidationError):
            raise BadRequest(
                "bad input",
                {"happenedAt": ["Expected a moment of the last ten years or of the next year"]},
            ) from None
        except change_markers.KeyTaken as error:
            return Response({"error": str(error)}, status=409)
        return Response(Change.of(marker), status=201 if new else 200)
