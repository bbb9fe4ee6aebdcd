"""What was used: today, this hour, of which caps, by whom; read-only, for pages and reports."""

__all__ = [
    "burn_rate",
    "burning",
    "callers",
    "history",
    "overview",
    "redis_mirror",
    "spike_signs",
    "stopped",
    "today",
]
