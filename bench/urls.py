"""The product's addresses, and two that are measured beside them, on the same server."""

from django.http import HttpResponse
from django.urls import include, path
from rest_framework.request import Request
from rest_framework.views import APIView

from budgets.api.views import StartView


class EmptyView(APIView):
    """The ceiling: what this server, these middlewares and DRF can do at all."""

    decides = True  # answered by the processes that answer a start
    schema = None
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> HttpResponse:
        return HttpResponse(b"{}", content_type="application/json")


urlpatterns = [
    path("bench/empty", EmptyView.as_view()),
    # The door does not know this address, so a thread answers, by the view.
    path("bench/start", StartView.as_view(schema=None)),
    path("", include("config.urls")),
]
