"""What is sent to Sentry: what went wrong and where in the code, and no credential.

Addresses of channels, of the seal's webhook and of the health check are credentials, whole; an
error of the database repeats the row that it refused. So there are no breadcrumbs (queries and
requests with their texts), no headers, no bodies, no local variables, and every text is scrubbed.
"""

import re
from collections.abc import Iterator
from typing import Any

import sentry_sdk
from django.conf import settings

REMOVED = "[removed]"
SHORTEST_SECRET = 6
PATTERNS = (
    # The host of some channels is the credential, so nothing but the scheme stays.
    (re.compile(r"\b([a-z][a-z0-9+.-]{1,30})://[^\s'\"<>]+", re.IGNORECASE), rf"\1://{REMOVED}"),
    (re.compile(r"\b(Bearer|Basic)\s+\S+", re.IGNORECASE), rf"\1 {REMOVED}"),
    (re.compile(r"\btg_[A-Za-z0-9_-]{8,}"), f"tg_{REMOVED}"),
    (re.compile(r"\b(DETAIL|CONTEXT|QUERY):.*", re.DOTALL), rf"\1: {REMOVED}"),
    (
        re.compile(r"\b(SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|CALL)\s.*", re.DOTALL),
        rf"\1 {REMOVED}",
    ),
)
KEPT_OF_A_REQUEST = ("method",)


def begin() -> None:
    """Start reporting, where an address is set."""
    if not settings.TOLLGATE_SENTRY_SECRET_DSN:
        return
    sentry_sdk.init(
        settings.TOLLGATE_SENTRY_SECRET_DSN,
        environment=settings.TOLLGATE_ENVIRONMENT,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        before_send=scrubbed,  # type: ignore[arg-type]
        before_breadcrumb=lambda crumb, hint: None,
    )


def scrubbed(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    """The event without what could be a credential. Sentry drops it where this fails."""
    event.pop("breadcrumbs", None)
    event.pop("user", None)
    event.get("extra", {}).pop("sys.argv", None)
    if request := event.get("request"):
        event["request"] = {name: request[name] for name in KEPT_OF_A_REQUEST if name in request}
    secrets = sorted(set(_secrets()), key=len, reverse=True)
    return {name: _clean(value, secrets) for name, value in event.items()}


def _clean(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REMOVED)
        for pattern, instead in PATTERNS:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {_clean(name, secrets): _clean(each, secrets) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each, secrets) for each in value]
    return value


def _secrets() -> Iterator[str]:
    """The values of settings that are credentials, and the passwords of the databases."""
    for name in dir(settings):
        if "SECRET" in name or "PASSWORD" in name:
            value = getattr(settings, name)
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, str) and len(each) >= SHORTEST_SECRET:
                    yield each
    for database in settings.DATABASES.values():
        if len(password := str(database.get("PASSWORD") or "")) >= SHORTEST_SECRET:
            yield password
