"""Endpoints for people: by a session and with CSRF. A token never decides."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from opslog.api.errors import TokenDenied
from workorders.api.auth import token_text

SESSION: Any = [{"session": []}]
SESSION_AND_CSRF: Any = [{"session": [], "csrf": []}]


class PersonInSession(SessionAuthentication):
    """Who is logged in, every write with a CSRF token. A service token beside it is refused too:
    whoever sends one is a program."""

    def authenticate(self, request: Request) -> tuple[Any, None]:
        if token_text(request):
            raise TokenDenied(403, "session", "people decide, in a session: no token does")
        try:
            found = super().authenticate(request)
        except PermissionDenied:
            raise TokenDenied(403, "csrf", "the CSRF token is missing or wrong") from None
        if found is None:
            raise TokenDenied(403, "session", "log in first: this is for people in a session")
        return found


class HasPermission(BasePermission):
    """The view says which: `permission`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, User) and request.user.has_perm(view.permission)


class SessionView(APIView):
    authentication_classes = (PersonInSession,)
    permission_classes = (HasPermission,)
    permission: str

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """A method that does not exist is 405 for everybody, logged in or not."""
        if not hasattr(self, str(request.method).lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *args, **kwargs)
