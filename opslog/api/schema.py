"""What the operations of every floor share in the schema; bodies and answers are structs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from opslog.api.answers import BadInput, Error, described

F = TypeVar("F", bound=Callable[..., Any])
COMPONENTS: Final = "#/components/schemas/"
EITHER_HEADER: Any = [{"bearer": []}, {"apiKey": []}]
COMMON: Mapping[int, str] = {
    400: "Bad input, named by field.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "The token may not be used for this.",
    503: "The database did not answer.",
}
NOT_FOUND: Mapping[int, str] = {404: "There is no such thing for this token."}
BODY_ERRORS: Mapping[int, str] = {
    413: "The body is over 64 KiB.",
    415: "The body is not application/json.",
}
DENIAL = OpenApiParameter(
    "Tollgate-Denial",
    str,
    "header",
    response=[401, 403],
    description="Which check refused.",
)
_schemas: dict[str, Any] = {}


def ref(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Where the schema has this struct. Raises ValueError where another one has its name."""
    (reference,), components = msgspec.json.schema_components(
        [kind], schema_hook=described, ref_template=COMPONENTS + "{name}"
    )
    for name, schema in components.items():
        if docstring := schema.get("description"):
            schema["description"] = " ".join(docstring.split())
        register(name, _tidy(schema))
    return reference


def register(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if _schemas.setdefault(name, schema) != schema:
        raise ValueError(f"two schemas are called {name}")
    return {"$ref": COMPONENTS + name}


def _tidy(node: Any) -> Any:
    """Without titles, which repeat a class's name (a property may be called so, too). Of amounts in
    bodies, what msgspec says of Decimal (a string) gives way to what is really taken."""
    if isinstance(node, list):
        return [_tidy(value) for value in node]
    if not isinstance(node, dict):
        return node
    dropped = ("type", "format") if "oneOf" in node else ()
    return {
        name: _tidy(value)
        for name, value in node.items()
        if name not in dropped and not (name == "title" and isinstance(value, str))
    }


def operation(
    name: str,
    summary: str,
    description: str = "",
    *,
    tag: str,
    answers: Mapping[int, tuple[str, type[msgspec.Struct]]],
    body: type[msgspec.Struct] | dict[str, Any] | None = None,
    errors: Mapping[int, str] | None = None,
    common: Mapping[int, str] = COMMON,
    parameters: Sequence[OpenApiParameter] = (DENIAL,),
    examples: Mapping[str, Any] | None = None,
    auth: Any = EITHER_HEADER,
) -> Callable[[F], F]:
    """Describes the method of a view. `answers` and `errors` by status, on top of the `common`
    errors; `body` and `examples` are of JSON."""
    responses = {status: OpenApiResponse(ref(of), text) for status, (text, of) in answers.items()}
    texts = {**common, **(BODY_ERRORS if body else {}), **(errors or {})}
    for status, text in texts.items():
        if status not in responses:
            responses[status] = OpenApiResponse(ref(BadInput if status == 400 else Error), text)
    return extend_schema(
        operation_id=name,
        summary=summary,
        description=description,
        tags=[tag],
        auth=auth,
        request={"application/json": body if isinstance(body, dict) else ref(body)}
        if body
        else None,
        parameters=list(parameters),
        responses=responses,
        examples=[
            OpenApiExample(title, value=value, request_only=True)
            for title, value in (examples or {}).items()
        ],
    )


def complete(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's hook: adds the structs, and says which bodies are required, since it takes
    one that is described by a JSON schema for optional."""
    result["components"].setdefault("schemas", {}).update(sorted(_schemas.items()))
    for item in result["paths"].values():
        for each in item.values():
            if "requestBody" in each:
                # An export of nothing is no byte at all in protobuf.
                binary = "application/x-protobuf" in each["requestBody"]["content"]
                each["requestBody"]["required"] = not binary
    return result
