"""What programs report of their model calls and tool calls: taken in, summed up, kept and dropped.

Whoever has something to tell (the endpoints, OpenTelemetry, LiteLLM, imported files, the demo)
makes drafts (`drafts`) and hands them to `accepting`, which answers item by item.
"""

__all__ = [
    "accepting",
    "change_markers",
    "costs",
    "drafts",
    "files",
    "litellm",
    "otlp",
    "rollup",
    "spend_hours",
    "traces",
    "weeks",
]
