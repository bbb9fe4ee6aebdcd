"""Pieces of the schema that every floor's endpoints share."""

from typing import Any

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

TIME = {"type": "string", "format": "date-time"}
USD = {"type": "string", "pattern": r"^\d+\.\d{2,9}$", "example": "0.05"}
EITHER_HEADER: Any = [{"bearer": []}, {"apiKey": []}]

ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "additionalProperties": False,
}
BAD_REQUEST: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "fields": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["error"],
    "additionalProperties": False,
}


def shape(body: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of a request, nested definitions put in their places."""
    told = msgspec.json.schema(body)
    definitions = told["$defs"]

    def placed(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return placed(definitions[node["$ref"].rsplit("/", 1)[1]])
            # msgspec's title only repeats a class's name. (A property may be called so, too.)
            return {
                key: placed(value)
                for key, value in node.items()
                if not (key == "title" and isinstance(value, str))
            }
        if isinstance(node, list):
            return [placed(value) for value in node]
        return node

    return tidy(placed(told))  # type: ignore[no-any-return]


def tidy(node: Any) -> Any:
    """Amounts: what msgspec says of Decimal (a string) gives way to what is really taken."""
    if isinstance(node, dict):
        if "oneOf" in node:
            node = {key: value for key, value in node.items() if key not in ("type", "format")}
        return {key: tidy(value) for key, value in node.items()}
    if isinstance(node, list):
        return [tidy(value) for value in node]
    return node


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def said(description: str, body: dict[str, Any]) -> OpenApiResponse:
    return OpenApiResponse(body, description=description)


DENIAL = OpenApiParameter(
    "Tollgate-Denial",
    str,
    "header",
    response=[401, 403],
    description="Which check refused.",
)
COMMON = {
    400: said("Bad input, named by field.", BAD_REQUEST),
    401: said("No token, or one that is unknown, expired or revoked.", ERROR),
    403: said("The token may not be used for this.", ERROR),
    503: said("The database did not answer.", ERROR),
}
NOT_FOUND = {404: said("There is no such thing for this token.", ERROR)}
BODY_ERRORS = {
    413: said("The body is over 64 KiB.", ERROR),
    415: said("The body is not application/json.", ERROR),
}


def example(name: str, value: Any, **kwargs: Any) -> OpenApiExample:
    return OpenApiExample(name, value=value, **kwargs)


def require_bodies(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's hook: it takes a body that is told as plain JSON schema for optional."""
    for item in result["paths"].values():
        for operation in item.values():
            if "requestBody" in operation:
                # An export of nothing is no byte at all in protobuf.
                binary = "application/x-protobuf" in operation["requestBody"]["content"]
                operation["requestBody"]["required"] = not binary
    return result


def null_is_a_type(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's hook: `nullable` was OpenAPI 3.0's, and means nothing in 3.1."""

    def mended(node: Any) -> Any:
        if isinstance(node, list):
            return [mended(each) for each in node]
        if not isinstance(node, dict):
            return node
        found = {name: mended(value) for name, value in node.items()}
        if found.get("nullable") is not True:
            return found
        del found["nullable"]
        if isinstance(found.get("type"), str) and "enum" not in found:
            return {**found, "type": [found["type"], "null"]}
        return {"anyOf": [found, {"type": "null"}]}

    return dict(mended(result))
