"""Addresses of the spending endpoints; no work order has one of their words as its id."""

from django.urls import path, register_converter
from django.urls.converters import IntConverter

import workorders.api.urls  # noqa: F401  (registers the converter of ids)
from budgets.api import cap_changes, guardrails, preflight, views


class NumberConverter(IntConverter):
    """No longer than what a bigint holds."""

    regex = "[0-9]{1,18}"


register_converter(NumberConverter, "id")

urlpatterns = [
    # First, because they are asked for most, and addresses are tried in this order.
    path("work-orders/start", views.StartView.as_view(), name="work-order-start"),
    path("work-orders/runs/<uuid:run_id>/finish", views.FinishView.as_view(), name="run-finish"),
    path("work-orders/runs/<uuid:run_id>/extend", views.ExtendView.as_view(), name="run-extend"),
    path("cap-changes", cap_changes.ChangeList.as_view(), name="cap-changes"),
    path("cap-changes/<id:change_id>", cap_changes.ChangeDetail.as_view(), name="cap-change"),
    path(
        "cap-changes/<id:change_id>/decision",
        cap_changes.ChangeDecision.as_view(),
        name="cap-change-decision",
    ),
    path(
        "cap-changes/<id:change_id>/cancel",
        cap_changes.ChangeCancel.as_view(),
        name="cap-change-cancel",
    ),
    path(
        "cap-changes/<id:change_id>/edit", cap_changes.ChangeEdit.as_view(), name="cap-change-edit"
    ),
    path(
        "work-orders/<wo:wo_id>/cap-changes",
        cap_changes.WorkOrderChanges.as_view(),
        name="work-order-cap-changes",
    ),
    path("work-orders/<wo:wo_id>/usage", views.UsageView.as_view(), name="work-order-usage"),
    path("work-orders/preflight", preflight.PreflightView.as_view(), name="preflight"),
    path("llm/killswitch", guardrails.KillSwitchView.as_view(), name="killswitch"),
    path("features/<str:feature>", guardrails.FeatureView.as_view(), name="feature"),
    path("burn-rate", guardrails.BurnRateView.as_view(), name="burn-rate"),
]
# Names that services knew before there was an /api/ here.
v1_urlpatterns = [
    path("admin/llm-budget", guardrails.LlmBudgetView.as_view(), name="llm-budget"),
    path("llm/check", guardrails.CheckView.as_view(), name="llm-check"),
    path("llm/spend", guardrails.SpendView.as_view(), name="llm-spend"),
]
