"""Bodies that hold many items: larger than others, maybe compressed, each item judged by itself."""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from rest_framework import exceptions
from rest_framework.parsers import BaseParser

from opslog.api.answers import Answer
from opslog.api.errors import BadRequest, TooLarge
from opslog.api.requests import IS_AMOUNT, NO_AMOUNT, place_and_problem
from opslog.telemetry.accepting import MOST, Outcome, Status
from opslog.telemetry.drafts import D

MAX_BATCH = 5_242_880  # bytes, also when inflated; DATA_UPLOAD_MAX_MEMORY_SIZE is the same
PART = 65_536  # bytes that are read and inflated at a time
GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with the header of gzip


class UnsupportedEncoding(exceptions.APIException):
    status_code = 415
    default_detail = "Content-Encoding: only gzip and identity are understood"


class BatchParser(BaseParser):
    """Hands the bytes over, inflated."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return b"".join(parts_of(stream, parser_context["request"], most=MAX_BATCH))


def parts_of(stream: Any, request: Any, *, most: int) -> Iterator[bytes]:
    """A body in parts, inflated. Raises TooLarge for more than `most` bytes, as sent or inflated,
    and BadRequest for broken gzip."""
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if length.isdigit() and int(length) > most:
        raise TooLarge
    inflate = zlib.decompressobj(GZIP) if is_gzip(request) else None
    sent = plain = 0
    while part := stream.read(PART):
        sent += len(part)
        if sent > most:
            raise TooLarge
        if inflate is None:
            yield part
            continue
        while True:
            try:
                inflated = inflate.decompress(part, PART)
            except zlib.error:
                raise BadRequest("the body is not gzip, or it is broken") from None
            part = inflate.unconsumed_tail
            plain += len(inflated)
            if plain > most:
                raise TooLarge
            yield inflated
            if not part and len(inflated) < PART:
                break
        if inflate.unused_data:
            raise BadRequest("something follows the end of the body's gzip stream")
    if inflate is not None and not inflate.eof:
        raise BadRequest("the body is cut off: its gzip stream does not end")


def is_gzip(request: Any) -> bool:
    """What the request says of its body. Raises UnsupportedEncoding."""
    match request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower():
        case "" | "identity":
            return False
        case "gzip" | "x-gzip":
            return True
    raise UnsupportedEncoding


class Item(Answer, omit_defaults=True, forbid_unknown_fields=True):
    index: Annotated[int, Meta(description="Its place in the body, from 0.")]
    status: Literal["accepted", "duplicate", "refused"]
    event_id: str = ""
    reason: Annotated[str, Meta(description="Why it was refused.")] = ""
    note: Annotated[str, Meta(description="On what was accepted: no price was known.")] = ""


class Taken(Answer, forbid_unknown_fields=True):
    accepted: int
    duplicates: int
    refused: int
    items: list[Item]


class NothingTaken(Answer, forbid_unknown_fields=True):
    """The counts and items are left out where the body could not be read."""

    error: str
    accepted: int | UnsetType = UNSET
    duplicates: int | UnsetType = UNSET
    refused: int | UnsetType = UNSET
    items: list[Item] | UnsetType = UNSET


@dataclass(slots=True)
class Batch(Generic[D]):
    """The items that could be read, by their place in the body, and the reasons of the others."""

    drafts: dict[int, D] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)

    def take_in(
        self, accept: Callable[[list[D]], list[Outcome]]
    ) -> tuple[int, Taken | NothingTaken]:
        """Hand the drafts over; status and body of the answer.

        200: all were written, or had been; 207: some were refused; 400: all were.
        """
        outcomes = dict(zip(self.drafts, accept(list(self.drafts.values())), strict=True))
        items: list[Item] = []
        count = dict.fromkeys(Status, 0)
        for index in range(len(self.drafts) + len(self.refused)):
            outcome = outcomes.get(index) or Outcome(
                Status.REFUSED, "", self.refused.get(index, "")
            )
            count[outcome.status] += 1
            why = "reason" if outcome.status is Status.REFUSED else "note"
            items.append(
                Item(index, outcome.status.value, outcome.event_id, **{why: outcome.reason})
            )
        taken, duplicates, refused = count.values()
        if not refused or refused < len(items):
            return 207 if refused else 200, Taken(taken, duplicates, refused, items)
        error = f"nothing was accepted: {items[0].reason}"
        return 400, NothingTaken(error, taken, duplicates, refused, items)


COST_IN_QUOTES = re.compile(rb'"(costUsd|senderCostUsd)"\s*:\s*"([^"]*)"')
ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
NOT_JSON = "not JSON in UTF-8"
TOO_DEEP = "nested too deeply"


def read_batch(decoder: "msgspec.json.Decoder[D]", body: Any) -> Batch[D]:
    """The items of a body: one object, or an array of up to 1,000. Raises BadRequest."""
    if not isinstance(body, bytes) or not body.strip():
        raise BadRequest("the body must be JSON, sent with its Content-Length")
    if body.lstrip()[:1] != b"[":
        body = b"[" + body + b"]"
    try:
        items = ITEMS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"the body is {NOT_JSON}") from None
    except RecursionError:
        raise BadRequest(f"the body is {TOO_DEEP}") from None
    if not 1 <= len(items) <= MOST:
        raise BadRequest(f"expected 1 to {MOST} items, not {len(items)}")
    batch: Batch[D] = Batch()
    for index, item in enumerate(items):
        try:
            batch.drafts[index] = decoder.decode(item)
        except msgspec.ValidationError as error:
            place, problem = place_and_problem(error)
            batch.refused[index] = f"{place}: {problem}" if place else problem
        except (msgspec.DecodeError, UnicodeDecodeError):
            batch.refused[index] = NOT_JSON
        except RecursionError:
            batch.refused[index] = TOO_DEEP
        else:
            # The decoder takes all that Decimal reads; a string keeps the digits for the message.
            for quoted in COST_IN_QUOTES.finditer(item):
                if not IS_AMOUNT.fullmatch(quoted[2].decode(errors="replace")):
                    batch.drafts.pop(index, None)
                    batch.refused[index] = f"{quoted[1].decode()}: {NO_AMOUNT}"
    return batch
