"""The admin's pages of this floor: importing them registers them."""

from opslog.admin import (  # noqa: F401  (they register themselves)
    calls,
    changes,
    events,
    hours,
    incidents,
    outbox,
    prices,
    seals,
    unread_spans,
)

__all__ = ["acts", "base", "forecast_page", "log_pages", "notifications_page"]
