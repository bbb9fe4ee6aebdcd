"""How fast money goes out, as a page that renews itself."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from budgets.usage import burn_rate
from opslog.pages.charts import chart
from opslog.pages.meters import Meter

REFRESH_SECONDS = 5


@require_safe
def burn_rate_page(request: HttpRequest) -> HttpResponse:
    """For everybody who may read budgets."""
    if not request.user.has_perm("budgets.view_budget"):
        raise PermissionDenied
    rate = burn_rate.now()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Burn rate",
        "rate": rate,
        "chart": chart(rate.by_minute, [], unit="usd"),
        "refresh": REFRESH_SECONDS,
        "limits": [
            (reach, Meter(reach.settled_usd, reach.held_usd, reach.budget.amount))
            for reach in rate.limits
        ],
    }
    return TemplateResponse(request, "budgets/burn_rate.html", context)
