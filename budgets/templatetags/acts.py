"""Links to acts, for who may do them; for all others the words, and who does it."""

from typing import Any

from django import template
from django.contrib.admin.utils import quote  # noqa: TID251  (it makes addresses of the admin)
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from budgets import may

register = template.Library()


@register.simple_tag(takes_context=True)
def act(context: Any, name: str, text: str, pk: Any = None, query: str = "") -> str:
    """A link to a page of the admin. The page's view puts `groups_that_may` into the context."""
    permission = may.needed(name, query)
    if permission and not context["request"].user.has_perm(permission):
        who = " or ".join(context["groups_that_may"].get(permission, ())) or "nobody"
        return format_html('{} <span class="tg-muted">(by {})</span>', text, who)
    address = reverse(f"admin:{name}", args=[] if pk is None else [quote(str(pk))])
    tail = f"?{query}" if query else ""
    return format_html('<a class="tg-link" href="{}{}">{}</a>', address, tail, text)


@register.simple_tag(takes_context=True)
def map_it(context: Any, category: str, name: str) -> str:
    """To the form that says which kind of bill a service belongs to, filled in."""
    query = urlencode({"service_category": category, "service_name": name})
    return act(context, "budgets_servicemapping_add", "map it", query=query)
