"""Pages by key, not by number: page one thousand costs what page one costs."""

from rest_framework.pagination import CursorPagination


class KeysetPagination(CursorPagination):
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200


class NewestEventsFirst(KeysetPagination):
    ordering = "-id"
