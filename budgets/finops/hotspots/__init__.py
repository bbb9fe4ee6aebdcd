"""The hotspot registry: entries, what is measured for them, and the guardrails that hold them."""
