"""Structured logs: one JSON object a line, on stderr, with the request id of what caused it."""

import asyncio
import logging
import sys
from datetime import UTC, datetime
from json import dumps
from typing import Any

import structlog

from opslog.request_context import current_request_id


def add_request_id(logger: Any, name: str, event: dict[str, Any]) -> dict[str, Any]:
    if request_id := current_request_id():
        event["request_id"] = request_id
    return event


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    add_request_id,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class Unhandled(logging.Filter):
    """Passes what an exception caused."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


def logging_config(level: str, *, json: bool) -> dict[str, Any]:
    """Django's LOGGING; json=False is for a person at a terminal."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    AccessLog.json = json
    AccessLog.enabled = logging.getLevelNamesMapping().get(level, logging.INFO) <= logging.INFO
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    renderer,
                ],
            }
        },
        "filters": {"unhandled": {"()": "config.logs.Unhandled"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django would repeat each answer from 400 on that the access line tells already.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.request": {"level": "ERROR", "filters": ["unhandled"]},
            "django-q": {"handlers": [], "level": "WARNING", "propagate": True},
            # Their lines repeat addresses of channels and of the health check: credentials.
            "httpx2": {"level": "WARNING"},
            "httpcore2": {"level": "WARNING"},
            "apprise": {"level": "CRITICAL"},
            "urllib3": {"level": "CRITICAL"},
            "requests_oauthlib": {"level": "CRITICAL"},
            "oauthlib": {"level": "CRITICAL"},
        },
    }


class AccessLog:
    """The line per request, past the logging machinery: that costs more than the rest of it."""

    json = True
    enabled = True


def access_line(
    *, method: str, route: str, status: int, duration_ms: float, request_id: str
) -> None:
    if AccessLog.enabled:
        sys.stderr.write(
            access_text(
                method=method,
                route=route,
                status=status,
                duration_ms=duration_ms,
                request_id=request_id,
            )
        )


def access_text(
    *, method: str, route: str, status: int, duration_ms: float, request_id: str
) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    if AccessLog.json:
        return (
            f'{{"timestamp": "{now}", "level": "info", "logger": "access", "event": "request", '
            f'"method": {dumps(method)}, "route": {dumps(route)}, "status": {status}, '
            f'"duration_ms": {duration_ms:.2f}, "request_id": "{request_id}"}}\n'
        )
    return f"{now} {method} {route} {status} {duration_ms:.1f} ms {request_id}\n"


class AccessLines:
    """Those of an event loop: what is answered in one turn of it is written together.

    A write is no longer than what a pipe takes in one piece, or the lines of two processes could be
    mixed.
    """

    IN_ONE_PIECE = 4096 - 512  # a line is shorter than that

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._text = ""

    def add(self, line: str) -> None:
        if not self._text:
            self._loop.call_soon(self._write)
        self._text += line
        if len(self._text) > self.IN_ONE_PIECE:
            sys.stderr.write(self._text)
            self._text = ""

    def _write(self) -> None:
        if self._text:
            sys.stderr.write(self._text)
            self._text = ""
