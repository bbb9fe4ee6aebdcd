from django.urls import path

from opslog.api import views

urlpatterns = [path("operations-events", views.EventList.as_view(), name="operations-events")]
