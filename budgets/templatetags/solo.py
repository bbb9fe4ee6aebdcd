"""The banner on every page while one person may sign alone."""

from typing import Any

from django import template

from budgets.approvals import solo_operator

register = template.Library()


@register.inclusion_tag("budgets/solo_banner.html")
def solo_banner() -> dict[str, Any]:
    return {"solo": solo_operator.standing()}
