"""What an HTTP request to a model provider asks for, and what its answer says that it used. Pure.

Known are the addresses of OpenAI (chat completions, completions, responses, embeddings), Anthropic
(messages) and Google (generateContent), which nearly every other provider and local server copies.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .usage import usage_of
from .values import Usage

CHAT, RESPONSES, MESSAGES = "/chat/completions", "/responses", "/messages"
GOOGLE = (":generateContent", ":streamGenerateContent")
PATHS = (CHAT, "/completions", RESPONSES, MESSAGES, "/embeddings", *GOOGLE)
OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
# A high estimate of a request: a token for three bytes of text, so much for an image or a file, and
# so much for an answer without a limit.
BYTES_A_TOKEN = 3
MEDIA_TOKENS = 2_000
OUTPUT_BOUND = 4_096
LARGEST_JSON_BYTES = 64 * 1024 * 1024
MEDIA_TYPES = frozenset(
    {"image_url", "input_image", "image", "file", "input_file", "document", "input_audio"}
)


def is_model_call(method: str, path: str) -> bool:
    """Threads of OpenAI's assistants have messages too, which no model sees yet."""
    return method == "POST" and path.endswith(PATHS) and "/threads/" not in path


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as it matters. `estimate` is high: no answer to it uses more, as a rule."""

    path: str
    body: Mapping[str, Any]
    estimate: Usage

    @classmethod
    def parse(cls, path: str, content: bytes) -> "Asked":
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            body = {}
        model = body.get("model")
        if not isinstance(model, str) or not model:
            model = path.rsplit("/", 1)[-1].partition(":")[0] if path.endswith(GOOGLE) else ""
        tokens = _input_tokens(body) if body else len(content) // BYTES_A_TOKEN
        estimate = Usage(
            model=model or "unknown",
            input_tokens=tokens,
            output_tokens=0 if path.endswith("/embeddings") else _output_tokens(body),
        )
        return cls(path, body, estimate)

    @property
    def is_stream(self) -> bool:
        return self.body.get("stream") is True or self.path.endswith(GOOGLE[1])

    def with_usage(self) -> bytes | None:
        """The body with usage asked for, where it is a stream that would not say it; or None."""
        options = self.body.get("stream_options") or {}
        if (
            not (self.is_stream and self.path.endswith("/completions"))
            or not isinstance(options, dict)
            or options.get("include_usage")
        ):
            return None
        body = dict(self.body) | {"stream_options": {**options, "include_usage": True}}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _output_tokens(body: Mapping[str, Any]) -> int:
    config = body.get("generationConfig")
    places: list[tuple[Any, tuple[str, ...]]] = [
        (body, OUTPUT_LIMITS),
        (config if isinstance(config, dict) else {}, ("maxOutputTokens",)),
    ]
    limits = [place.get(name) for place, names in places for name in names]
    limit = next((each for each in limits if isinstance(each, int) and each > 0), OUTPUT_BOUND)
    answers = body.get("n")
    return limit * (answers if isinstance(answers, int) and answers > 1 else 1)


def _input_tokens(value: Any) -> int:
    """Of a body of JSON, at most; numbers and names count as well, as tools are sent with them."""
    tokens, text, left = 0, 0, [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if each.get("type") in MEDIA_TYPES or "inlineData" in each or "inline_data" in each:
                tokens += MEDIA_TOKENS
                continue
            left.extend(each.values())
            text += sum(len(name) for name in each)
        elif isinstance(each, list):
            left.extend(each)
        elif isinstance(each, str):
            text += len(each.encode("utf-8", "replace"))
        else:
            text += BYTES_A_TOKEN
    return tokens + -(-text // BYTES_A_TOKEN)


class Answered:
    """The answer to a request, as it arrives. `feed` takes its bytes and returns those that the
    program is to see; `usage` is what it reported."""

    def __init__(self, asked: Asked, *, encoding: str, is_events: bool, added_usage: bool) -> None:
        self._asked = asked
        self._is_events = is_events
        self._added_usage = added_usage
        self._unzip = (
            zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in ("gzip", "deflate") else None
        )
        self._readable = encoding in ("", "identity") or self._unzip is not None
        self._buffer = bytearray()
        self._usage: dict[str, Any] = {}
        self._model = ""
        self._tier: str | None = None
        self._whole = False

    def feed(self, data: bytes) -> bytes:
        if not self._readable:
            return data
        if self._unzip is not None:
            try:
                self._take(self._unzip.decompress(data))
            except zlib.error:
                self._readable = False
            return data
        return self._take(data) if self._added_usage else (self._take(data), data)[1]

    def _take(self, data: bytes) -> bytes:
        self._buffer += data
        if not self._is_events:
            self._readable = len(self._buffer) <= LARGEST_JSON_BYTES
            return data
        return b"".join(event for event in self._events() if not self._read_event(event))

    def _events(self) -> Iterator[bytes]:
        """The whole ones in the buffer, each with the blank line that ends it."""
        while True:
            ends = [
                (at + len(mark))
                for mark in (b"\n\n", b"\r\n\r\n", b"\r\r")
                if (at := self._buffer.find(mark)) >= 0
            ]
            if not ends:
                return
            event = bytes(self._buffer[: min(ends)])
            del self._buffer[: min(ends)]
            yield event

    def _read_event(self, event: bytes) -> bool:
        """Whether the event is here only because usage was asked for."""
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        try:
            data = json.loads(b"\n".join(lines)) if lines else None
        except (ValueError, RecursionError):
            return False
        if not isinstance(data, dict):
            return False
        self._read(data)
        return self._added_usage and data.get("choices") == [] and bool(data.get("usage"))

    def end(self) -> bytes:
        """The answer is complete: what is still held back."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self._is_events:
            if rest:
                self._read_event(rest)
            return rest if self._added_usage else b""
        if self._readable:
            try:
                data = json.loads(rest)
            except (ValueError, RecursionError):
                data = None
            if isinstance(data, dict):
                self._read(data)
        return b""

    def _read(self, data: Mapping[str, Any]) -> None:
        for name in ("response", "message"):  # the events of Responses, and of Messages
            if isinstance(inner := data.get(name), dict) and "usage" in inner:
                self._read(inner)
        for name in ("model", "modelVersion"):
            if isinstance(model := data.get(name), str) and model:
                self._model = model
        if isinstance(tier := data.get("service_tier"), str):
            self._tier = tier
        usage = data.get("usage") or data.get("usageMetadata")
        if isinstance(usage, dict):
            # Anthropic says the input first, and the output, so far, later.
            self._usage |= {name: each for name, each in usage.items() if each is not None}
            self._whole = data.get("type") not in ("message", "message_start") or (
                not self._is_events
            )

    @property
    def usage(self) -> Usage | None:
        """What it used; None where the answer has not reported all of it."""
        return self._known() if self._whole else None

    @property
    def at_most(self) -> Usage:
        """A high estimate, by what the answer has reported so far."""
        estimate = replace(self._asked.estimate, model=self.model)
        known = self._known()
        if known is None:
            return estimate
        return replace(known, output_tokens=max(known.output_tokens, estimate.output_tokens))

    @property
    def model(self) -> str:
        return self._model or self._asked.estimate.model

    def _known(self) -> Usage | None:
        if not self._usage:
            return None
        value = {"usage": self._usage, "model": self.model, "service_tier": self._tier}
        if self._asked.path.endswith("/embeddings"):
            value["usage"] = {**self._usage, "completion_tokens": 0}
        try:
            return usage_of(value)
        except ValueError:
            return None
