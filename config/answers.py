"""How whole answers are handed to the web server."""

from collections.abc import Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse


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
