"""What pages say of requests."""

from django import template

from budgets import approvals
from budgets.models import ChangeRequest

register = template.Library()


@register.filter
def subject_name(request: ChangeRequest) -> str:
    """Its work order's id, or the limit that is to be raised."""
    return approvals.name_of(request)
