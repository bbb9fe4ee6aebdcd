"""The API of telemetry, incidents, events and forecasts."""

__all__ = [
    "answers",
    "client_address",
    "errors",
    "filters",
    "pagination",
    "requests",
    "schema",
    "urls",
]
