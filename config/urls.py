"""All addresses."""

import sys

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import include, path
from django.views.decorators.http import require_safe
from django.views.defaults import ERROR_PAGE_TEMPLATE
from drf_spectacular.views import SpectacularSwaggerSplitView

from budgets.admin.burn_rate_page import burn_rate_page
from budgets.admin.mitigation_page import mitigation_page
from budgets.api.urls import v1_urlpatterns
from config import health, metrics
from config.account_link import AccountLinkView
from config.api_schema import SchemaView
from config.pages import dashboard, navigation, runbooks
from opslog.admin import log_pages
from opslog.admin.forecast_page import forecast_page
from opslog.admin.notifications_page import notifications_page
from opslog.api.urls import v1_urlpatterns as opslog_v1_urlpatterns
from opslog.exceptions import Unconfirmed

OPEN = {"authentication_classes": (), "permission_classes": ()}


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return redirect("admin:index")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    return redirect(navigation.mark(request))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Machines get the API's one shape; people get a page."""
    if request.path.startswith("/api/") or request.path.startswith("/v1/"):
        return JsonResponse({"error": "not found"}, status=404)
    from django.views.defaults import page_not_found

    return page_not_found(request, exception)


UNCONFIRMED = (
    "The change was saved, but the standby database did not confirm it, so a failover could still "
    "lose it. Check that the change is there, and have the standby looked at before you rely on it."
)


def server_error(request: HttpRequest) -> HttpResponse:
    """Called while the error is handled."""
    if isinstance(sys.exc_info()[1], Unconfirmed):
        page = ERROR_PAGE_TEMPLATE % {"title": "Change not confirmed", "details": UNCONFIRMED}
        return HttpResponse(page, status=503, headers={"Retry-After": "1"})
    if request.path.startswith("/api/") or request.path.startswith("/v1/"):
        return JsonResponse({"error": "an error of ours; it was logged"}, status=500)
    from django.views.defaults import server_error as default

    return default(request)


handler404 = "config.urls.not_found"
handler500 = "config.urls.server_error"

urlpatterns = [
    path("", home),
    path("favicon.ico", favicon),  # for pages without the head of the admin: errors, downloads
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("api/", include("budgets.api.urls")),
    path("v1/", include(v1_urlpatterns)),
    path("v1/", include(opslog_v1_urlpatterns)),
    path("api/", include("workorders.api.urls")),
    path("api/", include("opslog.api.urls")),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path(
        "api/docs",
        SpectacularSwaggerSplitView.as_view(url_name="schema", **OPEN),
        name="docs",
    ),
    path("account/", include("config.sign_in.urls")),
    path(
        "admin/notifications/",
        admin.site.admin_view(notifications_page),
        name="my-notifications",
    ),
    path("admin/forecast/", admin.site.admin_view(forecast_page), name="forecast-page"),
    path("ops-dashboard", admin.site.admin_view(dashboard.page), name="ops-dashboard"),
    path("ops-dashboard/live", admin.site.admin_view(dashboard.live), name="ops-dashboard-live"),
    path("", include(log_pages.urlpatterns)),
    path("admin/burn-rate/", admin.site.admin_view(burn_rate_page), name="burn-rate-page"),
    path("admin/", include("budgets.admin.pages")),
    path("admin/runbooks/", admin.site.admin_view(runbooks.runbooks), name="runbooks"),
    path("admin/runbooks/<slug:slug>/", admin.site.admin_view(runbooks.runbook), name="runbook"),
    path(
        "admin/incident-mitigation/<int:mitigation_id>/",
        admin.site.admin_view(mitigation_page),
        name="incident-mitigation",
    ),
    path("admin/account-link/<uidb64>/<token>/", AccountLinkView.as_view(), name="account-link"),
    path("admin/", admin.site.urls),
]
