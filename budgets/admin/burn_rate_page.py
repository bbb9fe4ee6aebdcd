"""How fast money goes out, as a page that renews itself."""

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from budgets.usage import burn_rate
from opslog.admin.base import page_of
from opslog.pages.charts import Meter, chart

REFRESH_SECONDS = 5


@require_safe
@permission_required("budgets.view_budget", raise_exception=True)
def burn_rate_page(request: HttpRequest) -> HttpResponse:
    rate = burn_rate.now()
    return page_of(
        request,
        "budgets/burn_rate.html",
        title="Burn rate",
        rate=rate,
        chart=chart(rate.by_minute, [], unit="usd"),
        refresh=REFRESH_SECONDS,
        limits=[
            (reach, Meter(reach.settled_usd, reach.held_usd, reach.budget.amount))
            for reach in rate.limits
        ],
    )
