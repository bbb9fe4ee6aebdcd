"""Links to acts, for who may do them; for all others the words, and who does it: so that nobody is
sent to a refusal. `tests/runbooks/test_links.py` follows every link as every role."""

from collections import defaultdict
from typing import Any

from django import template
from django.apps import apps
from django.contrib import admin  # noqa: TID251  (each page knows what its acts need)
from django.contrib.admin.utils import quote  # noqa: TID251  (it makes addresses of the admin)
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

register = template.Library()
IDENTITY = "scope=Identity"  # one identity may be stopped by more people than everything


def permission_of(name: str, query: str) -> str:
    """Of a page of the admin, by its name there; empty: whoever reads may open it."""
    app, model, last = name.split("_", 2)
    page: Any = admin.site.get_model_admin(apps.get_model(app, model))
    if name == "budgets_killswitch_add":
        return "budgets.stop_identity" if IDENTITY in query else "budgets.stop_everything"
    if last == "add":
        return str(page.add_permission)
    act = page.acts.get(last.replace("_", "-"))
    return act.permission if act else ""


def groups_by_permission(request: Any) -> dict[str, list[str]]:
    """The names of the groups that have each; in one query for a page."""
    if not hasattr(request, "groups_by_permission"):
        request.groups_by_permission = defaultdict(list)
        rows = (
            Permission.objects.filter(group__isnull=False)
            .order_by("group__name")
            .values_list("content_type__app_label", "codename", "group__name")
        )
        for app, codename, group in rows.exclude(codename__startswith="view_"):
            request.groups_by_permission[f"{app}.{codename}"].append(group)
    found: dict[str, list[str]] = request.groups_by_permission
    return found


@register.simple_tag(takes_context=True)
def act(context: Any, name: str, text: str, pk: Any = None, query: str = "") -> str:
    """A link to a page of the admin."""
    request, permission = context["request"], permission_of(name, query)
    if permission and not request.user.has_perm(permission):
        who = " or ".join(groups_by_permission(request)[permission]) or "nobody"
        return format_html('{} <span class="tg-muted">(by {})</span>', text, who)
    address = reverse(f"admin:{name}", args=[] if pk is None else [quote(str(pk))])
    tail = f"?{query}" if query else ""
    return format_html('<a class="tg-link" href="{}{}">{}</a>', address, tail, text)


@register.simple_tag(takes_context=True)
def map_it(context: Any, category: str, name: str) -> str:
    """To the form that says which kind of bill a service belongs to, filled in."""
    query = urlencode({"service_category": category, "service_name": name})
    return act(context, "budgets_servicemapping_add", "map it", query=query)
