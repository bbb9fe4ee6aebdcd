"""What may be done to the rows of the admin's pages: a small form each, which asks once and then
calls the same function of the domain as the API does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme
from unfold import widgets

from opslog.exceptions import Rejected

T = TypeVar("T")
THEMED: dict[type[forms.Widget], type[forms.Widget]] = {
    forms.TextInput: widgets.UnfoldAdminTextInputWidget,
    forms.NumberInput: widgets.UnfoldAdminIntegerFieldWidget,
    forms.Select: widgets.UnfoldAdminSelectWidget,
    forms.RadioSelect: widgets.UnfoldAdminRadioSelectWidget,
    forms.Textarea: widgets.UnfoldAdminTextareaWidget,
    forms.DateInput: widgets.UnfoldAdminTextInputWidget,
    forms.TimeInput: widgets.UnfoldAdminTextInputWidget,
}


class Themed:
    """A form with the widgets of the admin's theme, which dresses the fields of a ModelAdmin only.
    A widget that is none of Django's stays."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if themed := THEMED.get(type(field.widget)):
                field.widget = themed(attrs=field.widget.attrs)
                field.widget.is_required = field.required
                if isinstance(field, forms.ChoiceField):
                    field.widget.choices = field.choices


class ReasonForm(Themed, forms.Form):
    """Why: it goes into the event that is recorded, so others can read it."""

    reason = forms.CharField(
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Recorded with your name in the event, where everybody can read it.",
    )


class SureForm(forms.Form):
    """Nothing to fill in, and yet an empty form does nothing."""

    sure = forms.CharField(widget=forms.HiddenInput, initial="yes")


class RowForm(Themed, forms.ModelForm):  # type: ignore[type-arg]  # generic only in the stubs
    """The fields of a row. The domain judges the values, under its lock; here is the shape alone.
    Text has one line, except in `long`."""

    long: Sequence[str] = ("reason",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if name not in self.long and isinstance(field.widget, forms.Textarea):
                field.widget = widgets.UnfoldAdminTextInputWidget()

    def _post_clean(self) -> None:
        pass


class StaffRequest(HttpRequest):
    """Behind the admin's login."""

    user: User


Text = str | Callable[[StaffRequest, Any], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What may be done to the row of a page, or (`PageAdmin.add`) the making of one: a form that
    asks once, with what it does, and the function of the domain that it calls.

    A text is a template for `str.format` with the row, or a function of the request and the row
    (None: to be made). What the domain rejects is shown on the form, with what was typed still in
    it.
    """

    # With the values of the form besides. Returns the row that was made and, where `done` is empty,
    # the message. Raises Rejected, ValidationError.
    perform: Callable[[StaffRequest, Any, dict[str, Any]], Any]
    done: str = ""  # the message, a template with the row
    title: Text = ""
    verb: Text = ""
    effects: Sequence[str] | Callable[[StaffRequest, Any], Sequence[str]] = ()
    danger: bool | Callable[[StaffRequest, Any], bool] = False
    permission: str = ""
    # Who may do it, besides the permission.
    allows: Callable[[StaffRequest, Any], bool] = lambda request, row: True
    # Whether it is offered; the domain judges it anyhow.
    when: Callable[[StaffRequest, Any], bool] = lambda request, row: True
    # Where to go instead, before the form is shown or taken.
    first: Callable[[StaffRequest, Any], HttpResponseBase | None] = lambda request, row: None
    # None: there is nothing to ask, and a button of the page posts it.
    form: Callable[..., forms.BaseForm] | None = ReasonForm
    # The fields that begin with what the row has.
    initial: Sequence[str] = ()
    form_kwargs: Callable[[StaffRequest, Any], dict[str, Any]] = lambda request, row: {}

    def is_offered(self, request: StaffRequest, row: Any) -> bool:
        permitted = not self.permission or request.user.has_perm(self.permission)
        return permitted and self.allows(request, row) and self.when(request, row)

    def bound(self, request: StaffRequest, row: Any) -> forms.BaseForm:
        """The form as it was sent, or as it begins."""
        kwargs = self.form_kwargs(request, row)
        if self.initial:
            kwargs = {"initial": {name: getattr(row, name) for name in self.initial}, **kwargs}
        if isinstance(self.form, type) and issubclass(self.form, forms.ModelForm) and row:
            kwargs["instance"] = row
        posted = request.method == "POST"
        make = self.form or forms.Form
        return make(request.POST if posted else None, request.FILES if posted else None, **kwargs)

    def context(self, request: StaffRequest, row: Any) -> dict[str, Any]:
        def text_of(text: Text) -> str:
            return text(request, row) if callable(text) else text.format(row)

        if callable(self.effects):
            effects = self.effects(request, row)
        else:
            effects = [each.format(row) for each in self.effects]
        return {
            "title": text_of(self.title),
            "verb": text_of(self.verb),
            "effects": effects,
            "danger": self.danger(request, row) if callable(self.danger) else self.danger,
        }


def submitted(
    request: HttpRequest,
    form: forms.BaseForm,
    perform: Callable[[dict[str, Any]], tuple[T, object]],
) -> T | None:
    """Does what a form asks for, once it is sent: `perform` returns the result, and the message if
    there is one. None: the form is to be shown, with what the domain rejected."""
    if request.method != "POST" or not form.is_valid():
        return None
    try:
        result, message = perform(dict(form.cleaned_data))
    except (Rejected, ValidationError) as error:
        form.add_error(None, error if isinstance(error, ValidationError) else str(error))
        return None
    if message:
        messages.success(request, str(message))
    return result


def asked(request: HttpRequest, *names: str, most: int = 200) -> dict[str, Any]:
    """What a link fills into a form."""
    return {"initial": {name: request.GET[name][:most] for name in names if name in request.GET}}


def way_back(request: HttpRequest) -> str:
    """Where the form was, if it was on another page of this site; else empty."""
    address = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(address, {request.get_host()}, request.is_secure())
    return address if safe else ""


def moved_on(request: HttpRequest, *, on: bool) -> bool:
    """Whether a switch is no longer as the page showed it (`was`), so that it must not be turned: a
    second click would turn it back."""
    return request.POST.get("was", "") not in ("", "on" if on else "off")
