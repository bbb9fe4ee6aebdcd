"""What stops or narrows spending: limits, kill switch, breakers, quotas, mitigations."""

__all__ = [
    "automatic_mitigation",
    "breaker",
    "features",
    "kill_switch",
    "limits",
    "mitigations",
    "permitting",
]
