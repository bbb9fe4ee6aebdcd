"""The triage of a cost spike: pure functions of plain data.

`data` is what they are given, `verdict` what they answer, one module for each step between.
Nothing here reads a table or a clock: a caller reads the rollups, hands them in, and stores what
comes back.
"""

__all__ = [
    "attribution",
    "data",
    "judge",
    "normal",
    "owned",
    "panel",
    "thresholds",
    "tokens",
    "verdict",
]
