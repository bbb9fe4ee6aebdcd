"""The look of the admin for the pages under `/account/`, which are no pages of it."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest


def frame(request: HttpRequest) -> dict[str, Any]:
    if not request.path_info.startswith("/account/"):
        return {}
    return {
        **admin.site.each_context(request),
        "single_sign_on": settings.TOLLGATE_OIDC_NAME if settings.TOLLGATE_OIDC_ISSUER else "",
    }
