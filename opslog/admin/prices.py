"""The price book: imported prices are read, own ones are set by administrators."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from opslog.admin.base import KeptAdmin, badge
from opslog.models import ModelPrice
from opslog.price_book import own as own_prices


class OwnPriceForm(forms.ModelForm):  # type: ignore[type-arg]  # generic only in the stubs
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Recorded in the event, with the prices before and after.",
    )

    class Meta:
        model = ModelPrice
        fields = (
            "model",
            "provider",
            "effective_from",
            "tier",
            "input_per_mtok",
            "output_per_mtok",
            "cached_input_per_mtok",
            "cache_write_per_mtok",
            "cache_write_1h_per_mtok",
            "reasoning_per_mtok",
            "audio_input_per_mtok",
            "cached_audio_input_per_mtok",
            "audio_output_per_mtok",
            "image_input_per_mtok",
            "image_output_per_mtok",
            "tiers",
            "service_tiers",
            "tool_prices",
            "match",
        )


@admin.register(ModelPrice)
class ModelPriceAdmin(KeptAdmin):
    form = OwnPriceForm
    list_display = (
        "model",
        "provider",
        "origin",
        "tier",
        "input_rate",
        "cached_rate",
        "output_rate",
        "since",
    )
    list_filter = ("source", "tier", "provider")
    list_per_page = 50
    search_fields = ("model", "provider")
    search_help_text = "a model or a provider"
    list_before_template = "tollgate/prices_note.html"
    fieldsets = (
        (None, {"fields": ("model", "provider", "effective_from", "tier")}),
        (
            "US dollars per million tokens",
            {
                "fields": (
                    ("input_per_mtok", "output_per_mtok"),
                    ("cached_input_per_mtok", "reasoning_per_mtok"),
                    ("cache_write_per_mtok", "cache_write_1h_per_mtok"),
                )
            },
        ),
        (
            "Audio and images, US dollars per million tokens",
            {
                "fields": (
                    ("audio_input_per_mtok", "cached_audio_input_per_mtok"),
                    ("audio_output_per_mtok",),
                    ("image_input_per_mtok", "image_output_per_mtok"),
                ),
                "classes": ("collapse",),
            },
        ),
        (
            "Service tiers and tools",
            {"fields": ("service_tiers", "tool_prices"), "classes": ("collapse",)},
        ),
        ("Special cases", {"fields": ("tiers", "match"), "classes": ("collapse",)}),
    )

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in ("model", "provider"):
            kwargs["widget"] = UnfoldAdminTextInputWidget()
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = tuple(super().get_fieldsets(request, obj))
        if self.has_change_permission(request, obj) if obj else True:
            return (*shown, ("Why", {"fields": ("reason",)}))
        return (*shown, ("Origin", {"fields": ("source", "created_at")}))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.source != ModelPrice.Source.OWN:
            return False
        return bool(super().has_change_permission(request, obj))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        own_prices.set_price(
            obj, by=request.user.get_username(), reason=form.cleaned_data["reason"]
        )

    @display(description="origin")
    def origin(self, price: ModelPrice) -> str:
        own = price.source == ModelPrice.Source.OWN
        return badge("live" if own else "cancelled", "own" if own else "imported")

    @display(description="input $/M", ordering="input_per_mtok")
    def input_rate(self, price: ModelPrice) -> str:
        return plain(price.input_per_mtok)

    @display(description="cached $/M")
    def cached_rate(self, price: ModelPrice) -> str:
        return plain(price.cached_input_per_mtok)

    @display(description="output $/M", ordering="output_per_mtok")
    def output_rate(self, price: ModelPrice) -> str:
        return plain(price.output_per_mtok)

    @display(description="from (UTC)", ordering="effective_from")
    def since(self, price: ModelPrice) -> str:
        return f"{price.effective_from:%Y-%m-%d}"


def plain(rate: Any) -> str:
    return "–" if rate is None else f"{rate.normalize():f}"
