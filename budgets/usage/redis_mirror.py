"""The day's settled spend, logged, and mirrored to Redis for programs that look there. Never the
authority.

`llm_budget:daily:YYYY-MM-DD` holds the US dollars as text and lives for 48 hours. Redis down
changes nothing but a field that says so.
"""

import logging

from django.conf import settings

from budgets.admission import direct_spend
from opslog.pricing.money import usd_text

log = logging.getLogger("tollgate.mirror")

KEEP_SECONDS = 48 * 3600
PATIENCE_SECONDS = 0.3


def key_of(date: str) -> str:
    return f"llm_budget:daily:{date}"


def is_unavailable() -> bool:
    """Whether there is a Redis in the settings that does not answer now."""
    if not settings.TOLLGATE_REDIS_SECRET_URL:
        return False
    import redis

    try:
        with _client() as client:
            client.ping()
    except (redis.RedisError, OSError):
        return True
    return False


def mirror() -> bool:
    """Write the day's spend, and its status into the log of the worker; returns whether there was a
    Redis to write it to."""
    day = direct_spend.day_status()
    log.log(logging.WARNING if day.warning else logging.INFO, day.message)
    if not settings.TOLLGATE_REDIS_SECRET_URL:
        return False
    import redis

    try:
        with _client() as client:
            client.set(key_of(day.date), usd_text(day.spent_usd), ex=KEEP_SECONDS)
    except (redis.RedisError, OSError) as error:
        log.warning("the day's spend was not mirrored", extra={"reason": type(error).__name__})
        return False
    return True


def _client() -> "redis.Redis":  # type: ignore[name-defined]  # noqa: F821
    import redis

    return redis.Redis.from_url(
        settings.TOLLGATE_REDIS_SECRET_URL,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
    )
