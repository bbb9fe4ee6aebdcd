"""A sign of life, with figures, to the address in HEALTHCHECK_URL (as healthchecks.io takes it)."""

import asyncio
import logging
from contextlib import nullcontext
from typing import Any

import httpx2
from django.conf import settings

from opslog.outbox.private_networks import PrivateTarget, public_only

log = logging.getLogger("tollgate.health_ping")
SECONDS = 5.0  # in all, whatever the other side does


def ping(task: str, status: str, figures: dict[str, Any]) -> bool:
    """POST `{"task": …, "status": …, **figures}` as JSON; whether it was taken. The address is a
    credential: it is in no log line. Private networks are refused, as for messages
    (NOTIFY_PRIVATE_NETWORKS)."""
    url = settings.TOLLGATE_HEALTHCHECK_SECRET_URL
    if not url:
        return False
    guard = nullcontext() if settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS else public_only()
    try:
        with guard:
            asyncio.run(_post(url, {"task": task, "status": status, **figures}))
    except (httpx2.HTTPError, PrivateTarget, OSError) as error:  # (TimeoutError is an OSError)
        log.warning("the health check was not reached", extra={"reason": type(error).__name__})
        return False
    return True


async def _post(url: str, body: dict[str, Any]) -> None:
    """The timeouts of a client hold for one read each: this one holds for everything."""
    async with (
        asyncio.timeout(SECONDS),
        httpx2.AsyncClient(follow_redirects=False) as client,
        # The status is all that counts: what follows is not read.
        client.stream("POST", url, json=body) as answer,
    ):
        answer.raise_for_status()
