"""How the API knows who asks. These two are DRF's defaults in the settings, so that views of any
floor declare `required_scope` and import nothing for it."""

from typing import Any

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from opslog.api.client_address import client_address
from opslog.api.errors import TokenDenied
from opslog.principal import Principal
from workorders import tokens


def token_text(request: HttpRequest | Request) -> str:
    """The token of a request; "" without one."""
    return tokens.text_of(request.META)


class ServiceTokenAuthentication(BaseAuthentication):
    """Authenticates and authorises in one look-up, by the rule that admission uses.

    The view says `required_scope` (or `required_scopes`, of which one suffices); `wo_id` in the
    address, if there is one, must be among the token's work orders; `concerns_everything` refuses a
    token that is limited to some of them. `request.auth` is the Principal.
    """

    def authenticate(self, request: Request) -> tuple[Any, Principal]:
        view = request.parser_context["view"]
        scopes = getattr(view, "required_scopes", None) or [view.required_scope]
        concerns = tokens.EVERYTHING if getattr(view, "concerns_everything", False) else ""
        verdict = tokens.judge(
            token_text(request),
            address=client_address(request),
            scopes=scopes,
            work_order=view.kwargs.get("wo_id", concerns),
        )
        if isinstance(verdict, tokens.TokenRefusal):
            raise TokenDenied(verdict.status, verdict.denial, verdict.error)
        return verdict.actor, verdict

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class HasRequiredScope(BasePermission):
    """Closed by default: a view that was not reached with a judged token is reached by nobody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, Principal)
