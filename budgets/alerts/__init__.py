"""Alerts: by which rule they are raised, what their messages say, and whom they reach."""

from budgets.alerts.raising import (
    operators,
    sweep,
    tell,
    tell_soon,
)

__all__ = [
    "operators",
    "sweep",
    "tell",
    "tell_soon",
]
