"""Change markers: read by everybody, reported by operations; never edited."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from opslog.admin.base import DayByDayMixin, KeptAdmin, LargeTableMixin, by_day, column, moments
from opslog.models import ChangeMarker
from opslog.telemetry import change_markers

LONGEST = {"what": 500, "feature": 100}  # as over HTTP


class ChangeForm(forms.ModelForm):  # type: ignore[type-arg]  # generic only in the stubs
    class Meta:
        model = ChangeMarker
        fields = ("kind", "what", "feature", "happened_at")

    def clean_happened_at(self) -> Any:
        at, now = self.cleaned_data["happened_at"], timezone.now()
        if not now - change_markers.BACK <= at <= now + change_markers.AHEAD:
            raise forms.ValidationError("A moment of the last ten years, or of the next year.")
        return at


@admin.register(ChangeMarker)
class ChangeMarkerAdmin(DayByDayMixin, LargeTableMixin, KeptAdmin):
    form = ChangeForm
    list_display = ("when", "kind", "what", "of_feature", "recorded_by")
    list_display_links = ("when", "what")
    list_filter = ("kind", by_day("happened_at"))
    search_fields = ("what", "feature")
    search_help_text = "words, or a feature"
    sortable_by = ()
    fields = ("kind", "what", "feature", "happened_at")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not even for a superuser: a mistake is corrected by a marker that says so."""
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj is None else (*self.fields, "recorded_by", "created_at", "key")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"happened_at": timezone.now().replace(second=0, microsecond=0)}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if longest := LONGEST.get(db_field.name):
            return forms.CharField(
                max_length=longest,
                required=not db_field.blank,
                help_text=db_field.help_text,
                widget=UnfoldAdminTextInputWidget(),
            )
        if db_field.name == "kind":
            return forms.ChoiceField(
                choices=ChangeMarker.Kind.choices, widget=UnfoldAdminSelectWidget()
            )
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        marker, _ = change_markers.record_change(
            kind=obj.kind,
            what=obj.what,
            by=request.user.get_username(),
            now=timezone.now(),
            happened_at=obj.happened_at,
            feature=obj.feature,
        )
        obj.pk = marker.pk

    when = moments("happened_at", "when")
    of_feature = column("feature", lambda marker: marker.feature or "all")
