from django.urls import path

from opslog.api import incidents, views

urlpatterns = [
    path("operations-events", views.EventList.as_view(), name="operations-events"),
    path("incidents", incidents.IncidentList.as_view(), name="incidents"),
    path("incidents/<int:incident_id>", incidents.IncidentDetail.as_view(), name="incident"),
]
