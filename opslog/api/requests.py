"""How bodies are parsed and checked: by msgspec, in one pass, before anything else happens.

A DRF serializer per request costs a third of a start's CPU (docs/adr/0002), so the endpoints do
without. The same shapes give the schema, so that there is one truth about each field.
"""

import json
import re
from functools import cache
from typing import Annotated, Any, Self, TypeVar, cast

import msgspec
from msgspec import Meta
from msgspec.structs import asdict
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from opslog.api.errors import BadRequest, TooLarge
from opslog.identities import is_name
from opslog.principal import Principal
from opslog.telemetry.drafts import AMOUNT

MAX_BODY = 65_536  # bytes

# No control characters, as in `opslog.identities.CONTROL`. The end is stated twice because Python's
# `$` lets a last newline pass.
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
PRINTABLE = rf"^[^{_CONTROL}]*$(?!\n)"
NAMING = rf"^[^{_CONTROL}]*[^{_CONTROL}\x20\xa0][^{_CONTROL}]*$(?!\n)"
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=NAMING)]
Text = Annotated[str, Meta(max_length=200, pattern=PRINTABLE)]
Label = Annotated[str, Meta(max_length=100, pattern=PRINTABLE)]


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Unknown fields are refused by name: a misspelt limit is worse than an error."""

    @classmethod
    def read(cls, body: Any) -> Self:
        """Raises BadRequest with the name of the field that is wrong."""
        if not isinstance(body, bytes) or not body:
            raise BadRequest("the body must be a JSON object")
        try:
            decoded: Self = decoder_of(cls).decode(body)
        except msgspec.ValidationError as error:
            path, problem = place_and_problem(error)
            if not path:
                raise BadRequest(problem) from None
            raise BadRequest("bad input", {path: [problem]}) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadRequest("the body is not JSON in UTF-8") from None
        except RecursionError:
            raise BadRequest("the body is nested too deeply") from None
        examine_pairs(body)
        return decoded

    def given(self) -> dict[str, Any]:
        """The fields that are not null, by their names here."""
        return {name: value for name, value in asdict(self).items() if value is not None}


B = TypeVar("B", bound=Body)


@cache
def decoder_of(body: type[B]) -> "msgspec.json.Decoder[B]":
    return msgspec.json.Decoder(body)


class RawJSONParser(BaseParser):
    """Hands the bytes over; the view's decoder parses and checks them in one pass."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Raises TooLarge, also for a body that was so large that it was not kept."""
        length = str(parser_context["request"].META.get("CONTENT_LENGTH") or "0")
        body: bytes = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY or (length.isdigit() and int(length) > MAX_BODY):
            raise TooLarge
        return body


# What limits, switches and counts compare, wherever a body names it.
IDENTITIES = frozenset({"agentName", "userId", "surface", "feature", "model"})
AMOUNTS = frozenset({"costUsd", "estimatedCostUsd", "additionalUsd", "usdPerDay"})
NO_NAME = "Expected visible characters, at most 200 of them once they are normalized"
IS_AMOUNT = re.compile(AMOUNT)
NO_AMOUNT = "Expected digits, with at most 30 after a point, from 0 to 1000000"
AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
NAMED = re.compile(r"(?:unknown|missing required) field `(?P<name>[^`]*)`")
NOT_MATCHING = "Expected `str` matching regex"


def place_and_problem(error: msgspec.ValidationError) -> tuple[str, str]:
    """The name of the field that is wrong, "" where it is the whole; and what is wrong with it."""
    text = str(error)
    at = AT.search(text)
    path = at["path"] if at else ""
    problem = text[: at.start()] if at else text
    if problem.startswith(NOT_MATCHING):
        problem = "Expected only characters that are allowed here, and not only blanks"
    if named := NAMED.search(problem):
        path = f"{path}.{named['name']}".strip(".")
    return path, problem.replace("`", "")


class Number(str):
    """The text of a number of JSON."""

    __slots__ = ()


def examine_pairs(body: bytes) -> None:
    """What the decoder lets pass. Raises BadRequest.

    Whoever reads a body first, or last, must read the same amount, so no name may be there twice;
    an amount in a string has the digits that the schema tells, not all that Decimal reads; and of
    an identity something must be left when it is normalized.
    For bodies that have been decoded already, so their shape is known to be flat.
    """
    PAIRS.decode(body.decode())


def once(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest("bad input", {twice: ["Given more than once"]})
    for name, value in pairs:
        if name in AMOUNTS and type(value) is str and not IS_AMOUNT.fullmatch(value):
            raise BadRequest("bad input", {name: [NO_AMOUNT]})
        if name in IDENTITIES and type(value) is str and not is_name(value):
            raise BadRequest("bad input", {name: [NO_NAME]})


PAIRS = json.JSONDecoder(object_pairs_hook=once, parse_int=Number, parse_float=Number)


def principal_of(request: Request) -> Principal:
    """Whom a request that was let in with a token speaks for."""
    return cast(Principal, request.auth)
