"""A sign of life, with figures, to the address in HEALTHCHECK_URL (as healthchecks.io takes it)."""

import logging
from contextlib import nullcontext
from typing import Any

import httpx2
from django.conf import settings

from opslog.private_networks import PrivateTarget, public_only

log = logging.getLogger("tollgate.health_ping")
SECONDS = 5


def ping(figures: dict[str, Any]) -> bool:
    """POST the figures as JSON; gives whether they were taken. The address is a credential: it is
    in no log line. Private networks are refused, as for messages (NOTIFY_PRIVATE_NETWORKS)."""
    url = settings.TOLLGATE_HEALTHCHECK_SECRET_URL
    if not url:
        return False
    guard = nullcontext() if settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS else public_only()
    try:
        with guard:
            answer = httpx2.post(url, json=figures, timeout=SECONDS, follow_redirects=False)
        answer.raise_for_status()
    except (httpx2.HTTPError, PrivateTarget, OSError) as error:
        log.warning("the health check was not reached", extra={"reason": type(error).__name__})
        return False
    return True
