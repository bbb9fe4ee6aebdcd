"""People and groups. Administrators set people up; nobody raises themself, nobody is deleted."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.template.loader import render_to_string
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from opslog import events
from opslog.admin.base import KeptAdmin, badge

GOVERNED = ("is_active", "is_staff", "is_superuser")


class UserAdmin(DjangoUserAdmin, KeptAdmin):  # type: ignore[type-arg, misc]  # stubs only
    """Groups are what a person may sign for, so every change of them is an event."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "member_of", "state", "last_login")
    list_filter = ("groups", "is_active", "is_superuser")
    search_fields = ("username", "email", "first_name", "last_name")
    search_help_text = "a name or an address"
    ordering = ("username",)
    filter_horizontal = ()
    change_form_before_template = "admin/person_note.html"
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": (("first_name", "last_name"), "email")}),
        ("What they may do", {"fields": ("groups", "is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": (("last_login", "date_joined"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who is no superuser cannot take over the account of one."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return bool(super().has_change_permission(request, obj))

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

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.is_staff = True  # everybody here works in the admin
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        user = form.instance
        before = set(user.groups.values_list("name", flat=True))
        super().save_related(request, form, formsets, change)
        after = set(user.groups.values_list("name", flat=True))
        changes: dict[str, Any] = {
            name: {"old": form.initial.get(name), "new": getattr(user, name)}
            for name in GOVERNED
            if name in form.changed_data
        }
        if before != after:
            changes["groups"] = {"old": sorted(before), "new": sorted(after)}
        if change and not changes:
            return
        told = ", ".join(sorted(changes)) or "no group yet"
        events.record(
            "USER_CHANGED" if change else "USER_CREATED",
            message=f"User {user.get_username()} {'changed' if change else 'created'}: {told}",
            owner=("user", str(user.pk)),
            label=user.get_username(),
            actor=request.user.get_username(),
            meta={"username": user.get_username(), "changes": changes},
        )

    @display(description="groups")
    def member_of(self, user: User) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all())) or "–"

    @display(description="state", ordering="is_active")
    def state(self, user: User) -> str:
        if not user.is_active:
            return badge("cancelled", "off")
        return badge("live", "superuser" if user.is_superuser else "active")


class GroupAdmin(DjangoGroupAdmin, KeptAdmin):  # type: ignore[misc]  # unfold is untyped
    """Made by a migration with their permissions; who is in them is set on each person."""

    list_display = ("name", "people")
    list_before_template = "admin/groups_note.html"
    search_fields = ()
    fields = ("name", "members", "may")
    readonly_fields = ("members", "may")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

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
    for model, page in ((User, UserAdmin), (Group, GroupAdmin)):
        if site.is_registered(model):
            site.unregister(model)
        site.register(model, page)
