"""The WSGI application that the web server serves. With a wrong setting there is none."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class WholeAnswers:
    """Gives the server an answer that is whole as a list of one, which it sends as it is.

    Anything else it takes for a stream and asks for piece by piece, each no sooner than there is
    room for it. (Sentry wraps all answers, so with it all are streams.)
    """

    def __init__(self, handler: WSGIHandler) -> None:
        self.handler = handler

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = self.handler(environ, start_response)
        if not isinstance(response, HttpResponse):
            return response
        try:
            return [response.content]
        finally:
            response.close()


application = WholeAnswers(get_wsgi_application())

from config.checks import WrongSettings, require_settings  # noqa: E402  (needs the apps)

try:
    require_settings()
except WrongSettings as error:
    sys.exit(f"tollgate: {error}")
