"""How the schema shows our authentication: two headers, of which one suffices."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from opslog.api.schema import EITHER_HEADER


class ServiceTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "workorders.api.auth.ServiceTokenAuthentication"
    name = ["bearer", "apiKey"]  # drf-spectacular's way to have two

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer"},
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return EITHER_HEADER
