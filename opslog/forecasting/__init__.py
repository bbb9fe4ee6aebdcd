"""What will be spent, from what was spent hour by hour. Pure: no database, no clock.

Every way of guessing (`methods`) is played against the past it could have known (`backtest`), the
naive ones among them, and what is shown of the future (`outlook`) comes with the error that was
found. `unusual` names the hours that are far from what their hour of the day usually costs.
"""

__all__ = ["outlook", "unusual"]
