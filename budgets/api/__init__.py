"""The enforcement API and the API of approvals and guardrails: reading, rendering, schema."""

__all__ = ["answers", "asks", "urls", "views"]
