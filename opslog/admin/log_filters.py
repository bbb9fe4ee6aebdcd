"""The filters of the event history, as they stand in the address."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from opslog.admin.base import parse_day
from opslog.events import filters as event_filters
from opslog.events.filters import Filters, Key

PERIODS = (
    ("", "any time"),
    ("1h", "the last hour"),
    ("24h", "the last 24 hours"),
    ("7d", "the last 7 days"),
    ("31d", "the last 31 days"),
)
# Parameters that are no filter; `day` and `q` are how the log was filtered before.
OTHERS = {"before", "after", "day", "q", "p", "format"}


class MomentField(forms.CharField):
    """ "2026-11-26T10:00" or "2026-11-26"; UTC unless an offset is given."""

    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-11-26 10:00"})

    def clean(self, value: Any) -> Any:
        text = super().clean(value).strip()
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError("Write a time like 2026-11-26 10:00.") from None


def _text(label: str, most: int = 200, hint: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=most,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": hint, "autocomplete": "off"}),
    )


class FilterForm(forms.Form):
    kind = forms.ChoiceField(label="Kind", required=False, widget=UnfoldAdminSelectWidget)
    owner_type = forms.ChoiceField(label="About", required=False, widget=UnfoldAdminSelectWidget)
    owner_id = _text("Its id")
    work_order = _text("Work order", 100, "its id")
    agent = _text("Agent", 200, "its name")
    actor = _text("Actor")
    request_id = _text("Request id", 64)
    text = _text("Text in message or details", 200)
    last = forms.ChoiceField(
        label="Time", choices=PERIODS, required=False, widget=UnfoldAdminSelectWidget
    )
    since = MomentField(label="From (UTC)", required=False)
    until = MomentField(label="Until (UTC)", required=False)

    def __init__(self, query: QueryDict) -> None:
        data = {name: query.get(name, "") for name in self.base_fields}
        data["text"] = data["text"] or query.get("q", "")
        if day := parse_day(query.get("day")):
            data["since"] = f"{day.isoformat()}T00:00"
            data["until"] = f"{(day + timedelta(days=1)).isoformat()}T00:00"
        super().__init__(data)
        self.unknown = sorted(set(query) - set(self.base_fields) - OTHERS)[:5]
        every = [("", "every kind"), ("refusals", "all refusals")]
        self._offer("kind", event_filters.kinds(), every)
        self._offer("owner_type", event_filters.owner_types(), [("", "anything")])

    def _offer(self, name: str, found: list[str], first: list[tuple[str, str]]) -> None:
        """What is in the log; and what the address says, though there be none of it (yet)."""
        values = {*found, self.data[name]} - {value for value, _ in first}
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (for the types)
        field.choices = [*first, *((each, each) for each in sorted(values))]

    def clean(self) -> dict[str, Any]:
        """A misspelled filter is an error: ignored in silence it would show the wrong rows."""
        for name in self.unknown:
            self.add_error(None, f"There is no filter called {name[:40]}.")
        for name, value in self.data.items():
            if any(not char.isprintable() for char in value):
                self.add_error(name, "Control characters cannot be searched for.")
        return self.cleaned_data

    def filters(self) -> Filters:
        return Filters(**self.cleaned_data)


def query_of(filters: Filters) -> str:
    """The filters as an address has them: only those that are set, in one order."""
    query = {}
    for name in FilterForm.base_fields:
        value = getattr(filters, name)
        if isinstance(value, datetime):
            value = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" + (
                f".{value:%f}" if value.microsecond else ""
            )
        if value:
            query[name] = value
    return urlencode(query)


def place_in(query: QueryDict, name: str) -> Key | None:
    """Raises ValidationError."""
    if not (text := query.get(name)):
        return None
    try:
        return Key.parse(text)
    except ValueError:
        raise ValidationError("This is no place in the log: begin at the newest.") from None
