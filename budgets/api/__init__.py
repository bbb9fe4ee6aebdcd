"""The enforcement API and the API of approvals and guardrails: reading, rendering, schema."""
