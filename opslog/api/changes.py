"""Telling of changes, and reading what was told."""

from datetime import datetime
from typing import Annotated, Any, Literal

import django_filters
import msgspec
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from msgspec import Meta
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from opslog.api.errors import BadRequest
from opslog.api.filters import ChoiceFilter, KnownFiltersOnly, MomentFilter, in_utc
from opslog.api.pagination import KeysetPagination
from opslog.api.requests import NAMING, Body, Label, Name, RawJSONParser, decode
from opslog.api.schema import BODY_ERRORS, COMMON, DENIAL, ERROR, example, said, shape
from opslog.models import ChangeMarker
from opslog.telemetry import change_markers


class ChangeBody(Body, frozen=True):
    kind: Literal["deploy", "prompt_template", "model_version", "ux_change", "campaign", "other"]
    what: Annotated[str, Meta(min_length=1, max_length=500, pattern=NAMING)]
    happened_at: Annotated[datetime, Meta(tz=True)] | None = None
    feature: Label | None = None
    key: Name | None = None


CHANGE = msgspec.json.Decoder(ChangeBody)


class ChangeMarkerSerializer(serializers.ModelSerializer[ChangeMarker]):
    happenedAt = serializers.DateTimeField(source="happened_at")
    recordedBy = serializers.CharField(source="recorded_by")
    createdAt = serializers.DateTimeField(source="created_at")

    class Meta:
        model = ChangeMarker
        fields = ("id", "kind", "what", "happenedAt", "feature", "key", "recordedBy", "createdAt")


class ChangeFilter(django_filters.FilterSet):
    kind = ChoiceFilter(choices=ChangeMarker.Kind)
    feature = django_filters.CharFilter(method="of_feature", max_length=100)
    since = MomentFilter(field_name="happened_at", lookup_expr="gte")
    until = MomentFilter(field_name="happened_at", lookup_expr="lt")

    class Meta:
        model = ChangeMarker
        fields: list[str] = []

    def of_feature(
        self, queryset: QuerySet[ChangeMarker], name: str, value: str
    ) -> QuerySet[ChangeMarker]:
        """Its own, and those of all features."""
        return queryset.filter(Q(feature=value) | Q(feature=""))


class NewestChangesFirst(KeysetPagination):
    ordering = ("-happened_at", "-id")


class ChangeList(generics.ListAPIView[ChangeMarker]):
    serializer_class = ChangeMarkerSerializer
    pagination_class = NewestChangesFirst
    parser_classes = (RawJSONParser,)
    filter_backends = (KnownFiltersOnly,)
    filterset_class = ChangeFilter
    concerns_everything = True
    queryset = ChangeMarker.objects.all()

    @property
    def required_scope(self) -> str:
        return "ingest" if self.request.method == "POST" else "read"

    @extend_schema(
        operation_id="changes_list",
        summary="What was changed, newest first",
        tags=["reading"],
        parameters=[DENIAL],
        responses={200: ChangeMarkerSerializer(many=True), **COMMON},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="change_record",
        summary="Tell of a change",
        description="Drawn on every chart, and named by the triage when one precedes a spike. No "
        "`feature`: of all features. No `happenedAt`: now. With a `key` the same change may be "
        "told again. Kept for good: a change is never edited or deleted.",
        tags=["telemetry"],
        request={"application/json": shape(ChangeBody)},
        parameters=[DENIAL],
        responses={
            201: ChangeMarkerSerializer,
            200: ChangeMarkerSerializer,
            **COMMON,
            **BODY_ERRORS,
            409: said("The key was told before, of another change.", ERROR),
        },
        examples=[
            example(
                "A deploy",
                {
                    "kind": "deploy",
                    "what": "search 4.12.0",
                    "feature": "search",
                    "key": "search-4.12.0",
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        body = decode(CHANGE, request.data)
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
        return Response(ChangeMarkerSerializer(marker).data, status=201 if new else 200)
