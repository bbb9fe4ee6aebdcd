"""The API of telemetry, incidents, events and forecasts."""
