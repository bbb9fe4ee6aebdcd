from django.urls import path

from opslog.api import changes, telemetry, views

urlpatterns = [
    path("operations-events", views.EventList.as_view(), name="operations-events"),
    path("inference-events", telemetry.InferenceEventsView.as_view(), name="inference-events"),
    path("tool-calls", telemetry.ToolCallsView.as_view(), name="tool-calls"),
    path("changes", changes.ChangeList.as_view(), name="changes"),
]
