"""The product's addresses, the empty view and the start in plain ORM: all on the same server."""

from django.urls import include, path

from bench.comparison import EmptyView, OrmStartView

urlpatterns = [
    path("bench/empty", EmptyView.as_view()),
    path("bench/orm-start", OrmStartView.as_view()),
    path("", include("config.urls")),
]
