"""Addresses of the spending endpoints; no work order has one of their words as its id."""

from django.urls import path

import workorders.api.urls  # noqa: F401  (registers the converter of ids)
from budgets.api import views

urlpatterns = [
    path("work-orders/<wo:wo_id>/usage", views.UsageView.as_view(), name="work-order-usage"),
    path("work-orders/start", views.StartView.as_view(), name="work-order-start"),
    path("work-orders/runs/<uuid:run_id>/finish", views.FinishView.as_view(), name="run-finish"),
    path("work-orders/runs/<uuid:run_id>/extend", views.ExtendView.as_view(), name="run-extend"),
]
