from tests.guardrails.conftest import desk  # noqa: F401  (a fixture)
