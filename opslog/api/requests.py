"""How bodies are parsed and checked: by msgspec, in one pass, before anything else happens.

A DRF serializer per request costs a third of a start's CPU (docs/adr/0002), so the endpoints do
without. The same shapes give the schema, so that there is one truth about each field.
"""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from rest_framework.parsers import BaseParser

from opslog.api.errors import BadRequest, TooLarge

MAX_BODY = 65_536  # bytes

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE)]
Text = Annotated[str, Meta(max_length=200, pattern=PRINTABLE)]
Label = Annotated[str, Meta(max_length=100, pattern=PRINTABLE)]


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Unknown fields are refused by name: a misspelt limit is worse than an error."""


class RawJSONParser(BaseParser):
    """Hands the bytes over; the view's decoder parses and checks them in one pass."""

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> bytes:
        body: bytes = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise TooLarge
        return body


AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
NAMED = re.compile(r"(?:unknown|missing required) field `(?P<name>[^`]*)`")
B = TypeVar("B", bound=Body)


def decode(decoder: "msgspec.json.Decoder[B]", body: Any) -> B:
    """The checked shape of a body. Raises BadRequest with the name of the field that is wrong."""
    if not isinstance(body, bytes) or not body:
        raise BadRequest("the body must be a JSON object")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        at = AT.search(text)
        path = at["path"] if at else ""
        told = text[: at.start()] if at else text
        if named := NAMED.search(told):
            path = f"{path}.{named['name']}".strip(".")
        if not path:
            raise BadRequest(told.replace("`", "")) from None
        raise BadRequest("bad input", {path: [told.replace("`", "")]}) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("the body is not JSON in UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
