"""People and groups. Administrators set people up; nobody raises themself, nobody is deleted, and
nobody sets another's password. What that means is `budgets.accounts`'.
"""

import unicodedata
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import timezone
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from budgets import accounts
from budgets.accounts import names
from budgets.exceptions import Refused
from budgets.models import AccountChange
from opslog.admin.acts import Act, StaffRequest, SureForm
from opslog.admin.base import PageAdmin, ReadAdmin, badge
from opslog.outbox import delivery

ADMINISTER = "auth.change_user"


class PersonForm(forms.ModelForm):  # type: ignore[type-arg]
    """Names and rights; no password, which is the person's own business."""

    class Meta:
        model = User
        fields = ("username", "email", "first_name", "last_name", "groups")

    def clean_username(self) -> str:
        name = unicodedata.normalize("NFKC", self.cleaned_data["username"])
        of = self.instance if self.instance.pk else None
        if of is None or name != self.initial.get("username"):
            self._refuse(accounts.name_problem(name, of=of))
        return name

    def clean_first_name(self) -> str:
        return self._readable("first_name")

    def clean_last_name(self) -> str:
        return self._readable("last_name")

    def clean_email(self) -> str:
        return self._readable("email")

    def _readable(self, field: str) -> str:
        text = str(self.cleaned_data.get(field) or "")
        if text != self.initial.get(field):
            self._refuse(names.problem(text))
        return text

    @staticmethod
    def _refuse(problem: str) -> None:
        if problem:
            raise forms.ValidationError(problem)


def may_change(request: HttpRequest, person: User | None) -> bool:
    """Who is no superuser cannot take over the account of one."""
    if person is not None and person.is_superuser and not request.user.is_superuser:
        return False
    return request.user.has_perm(ADMINISTER)


def link_effects(request: HttpRequest, person: User) -> tuple[str, ...]:
    return (
        f"It goes to {person.email or 'no address: none is on file'}, and nowhere else.",
        "It works once, within 24 hours. Earlier links stop working.",
        "All administrators are notified.",
        "For somebody who decides or administers, a second administrator must confirm.",
    )


def send_link(request: StaffRequest, person: User, _: dict[str, Any]) -> str:
    outcome = accounts.ask_for_link(person.pk, by=request.user)
    if outcome.waiting:
        return waits(outcome.waiting)
    return f"A password link is on its way to {person.email}."


class UserAdmin(PageAdmin):
    """A form for the free part; what needs a second administrator is proposed by the same form."""

    form = PersonForm
    list_display = ("username", "email", "member_of", "state", "last_login")
    list_filter = ("groups", "is_active", "is_superuser")
    search_fields = ("username", "email", "first_name", "last_name")
    search_help_text = "a name or an address"
    ordering = ("username",)
    sortable_by = None
    change_form_before_template = "admin/person_note.html"
    add_permission = "auth.add_user"
    acts = {
        "link": Act(
            title="Send {} a password link",
            allows=may_change,
            form=SureForm,
            effects=link_effects,
            verb="Send the link",
            perform=send_link,
        )
    }
    fieldsets = (
        (None, {"fields": ("username",)}),
        ("Person", {"fields": (("first_name", "last_name"), "email")}),
        ("Permissions", {"fields": ("groups", "is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": (("last_login", "date_joined"),)}),
    )
    add_fieldsets = (
        (None, {"fields": ("username",)}),
        ("Person", {"fields": (("first_name", "last_name"), "email")}),
        ("Permissions", {"fields": ("groups",)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.add_fieldsets

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """No search by parts of a password's hash."""
        return not lookup.startswith("password") and super().lookup_allowed(lookup, value, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_change(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "groups" and field is not None:
            field.widget = UnfoldAdminCheckboxSelectMultipleWidget(choices=field.choices)
            field.help_text = "What this person may do, and sign for."
        return field

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fixed = ["last_login", "date_joined"]
        if not request.user.is_superuser:
            fixed.append("is_superuser")
        if obj is not None and obj.pk == request.user.pk:
            fixed += ["groups", "is_active", "is_staff", "is_superuser"]
        return tuple(fixed)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        """A form, unlike the other pages of this kind."""
        extra = {**(extra_context or {}), "account": self.account(request, object_id)}
        answer: HttpResponseBase = super(PageAdmin, self).change_view(
            request, object_id, form_url, extra
        )
        return answer

    def account(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        """What stands above the form."""
        person = self.get_object(request, object_id)
        if person is None:
            return {}
        now = timezone.now()
        waiting = AccountChange.objects.filter(
            person=person, status=AccountChange.Status.PENDING, expires_at__gt=now
        ).first()
        return {
            "waiting": waiting,
            "wanted": accounts.headline(waiting) if waiting else "",
            "counts_later": person.memberships.filter(counts_from__gt=now).select_related("group"),
            "no_password": not person.has_usable_password(),
            "own": person.pk == request.user.pk,
            "may_link": person.pk != request.user.pk
            and person.is_active
            and self.has_change_permission(request, person),
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        try:
            answer: HttpResponseBase = super().changeform_view(
                request, object_id, form_url, extra_context
            )
        except Refused as error:  # everything is rolled back
            messages.error(request, str(error))
            return HttpResponseRedirect(request.get_full_path())
        return answer

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        values = dict(form.cleaned_data)
        chosen = values.pop("groups", None)
        groups = None if chosen is None else {group.name for group in chosen}
        by: Any = request.user
        if change:
            outcome = accounts.change(obj.pk, by=by, values=values, groups=groups)
        else:
            outcome = accounts.create(by=by, values=values, groups=groups or set())
            obj.pk = outcome.person.pk
            if not outcome.linked:
                messages.warning(request, no_link_yet(outcome.person))
        if outcome.waiting:
            messages.warning(request, waits(outcome.waiting))
        if outcome.linked:
            messages.info(request, f"A password link is on its way to {outcome.person.email}.")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Groups are part of `save_model`: nothing else puts anybody into one."""

    @display(description="groups")
    def member_of(self, user: User) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all())) or "–"

    @display(description="state", ordering="is_active")
    def state(self, user: User) -> str:
        if not user.is_active:
            return badge("cancelled", "off")
        return badge("live", "superuser" if user.is_superuser else "active")


def waits(change: AccountChange) -> str:
    """What a message says of a change that needs a second administrator."""
    headline = accounts.headline(change)
    able = accounts.confirmers(change)
    if able:
        names = ", ".join(each.get_username() for each in able)
        return f"{headline}: waiting for a second administrator to confirm ({names})."
    return (
        f"{headline}: there is no second administrator to confirm. On the server, run "
        f"manage.py account_changes --confirm {change.pk}"
    )


def no_link_yet(person: User) -> str:
    why = "no email address" if delivery.can_mail() else "no mail server"
    name = person.get_username()
    return f"There is {why}. To get a password link, run manage.py account_link {name}"


class GroupAdmin(DjangoGroupAdmin, ReadAdmin):  # type: ignore[misc]  # unfold is untyped
    """Made by a migration with their permissions; who is in them is set on each person."""

    list_display = ("name", "people")
    sortable_by = None
    list_before_template = "admin/groups_note.html"
    search_fields = ()
    fields = ("name", "members", "may")
    readonly_fields = ("members", "may")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("user_set")

    @display(description="people")
    def people(self, group: Group) -> str:
        return ", ".join(sorted(str(user) for user in group.user_set.all())) or "nobody"

    @display(description="people")
    def members(self, group: Group) -> str:
        return self.people(group)

    @display(description="may, besides reading")
    def may(self, group: Group) -> str:
        names = group.permissions.exclude(codename__startswith="view_").values_list(
            "name", flat=True
        )
        return render_to_string("admin/permissions.html", {"names": names})


def register(site: admin.AdminSite) -> None:
    pages: tuple[tuple[Any, Any], ...] = ((User, UserAdmin), (Group, GroupAdmin))
    for model, page in pages:
        if site.is_registered(model):
            site.unregister(model)
        site.register(model, page)
