"""Alerts: by which rule they are raised, what their messages say, and whom they reach."""

from budgets.alerts.raising import (
    sweep,
    tell,
    tell_soon,
)

__all__ = ["refusals", "rules", "sweep", "tell", "tell_soon"]
