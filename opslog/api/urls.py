from django.urls import path

from opslog.api import changes, forecast, incidents, litellm, otlp, telemetry, views

urlpatterns = [
    path("operations-events", views.EventList.as_view(), name="operations-events"),
    path("inference-events", telemetry.InferenceEventsView.as_view(), name="inference-events"),
    path("tool-calls", telemetry.ToolCallsView.as_view(), name="tool-calls"),
    path("litellm-callback", litellm.LiteLLMCallbackView.as_view(), name="litellm-callback"),
    path("forecast", forecast.ForecastView.as_view(), name="forecast"),
    path("incidents", incidents.IncidentList.as_view(), name="incidents"),
    path("incidents/<int:incident_id>", incidents.IncidentDetail.as_view(), name="incident"),
    path("changes", changes.ChangeList.as_view(), name="changes"),
]
# Exporters of OpenTelemetry add `v1/traces` to the address they are given.
v1_urlpatterns = [path("traces", otlp.TracesView.as_view(), name="otlp-traces")]
