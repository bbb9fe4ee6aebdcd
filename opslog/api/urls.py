from django.urls import path

from opslog.api import changes, views

urlpatterns = [
    path("operations-events", views.EventList.as_view(), name="operations-events"),
    path("changes", changes.ChangeList.as_view(), name="changes"),
]
