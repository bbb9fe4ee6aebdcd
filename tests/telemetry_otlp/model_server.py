"""A small server that answers as OpenAI's, Anthropic's and Google's APIs do, with fixed usage.

The first answer to a question asks for the tool `weather`, the second, which has the result, is
text. Every answer is of 1,000 input and 200 output tokens in all; each provider tells it in its
own way of counting:

- OpenAI: 1,000 input tokens with the 600 cached ones, 200 output tokens with 50 of reasoning;
- Anthropic: 300 input tokens without the 600 cached and the 100 written ones, of which 40 are for
  an hour; 200 output tokens;
- Google: 1,000 input tokens with the 600 cached ones, 150 output tokens without the 50 thoughts.

With `"stream": true` it answers in events. A model `…fails-once…` answers 500 the first time.
"""

import contextlib
import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

ids = itertools.count(1)


def openai_chat(asked: dict[str, Any]) -> dict[str, Any]:
    first = asked.get("tools") and not any(m["role"] == "tool" for m in asked["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": None if first else "Sunny."}
    if first:
        call = {"name": "weather", "arguments": '{"city": "Oslo"}'}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
    return {
        "id": f"chatcmpl-{next(ids)}",
        "object": "chat.completion",
        "created": 1,
        "model": asked["model"],
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if first else "stop"}
        ],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 200,
            "total_tokens": 1200,
            "prompt_tokens_details": {"cached_tokens": 600},
            "completion_tokens_details": {"reasoning_tokens": 50},
        },
    }


def openai_responses(asked: dict[str, Any]) -> dict[str, Any]:
    given = asked["input"] if isinstance(asked["input"], list) else []
    first = asked.get("tools") and not any(
        each.get("type") == "function_call_output" for each in given
    )
    number = next(ids)
    text = {"type": "output_text", "text": "Sunny.", "annotations": []}
    output: dict[str, Any] = (
        {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{number}",
            "name": "weather",
            "arguments": '{"city": "Oslo"}',
            "status": "completed",
        }
        if first
        else {
            "type": "message",
            "id": f"msg_{number}",
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }
    )
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": asked["model"],
        "output": [output],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1000,
            "output_tokens": 200,
            "total_tokens": 1200,
            "input_tokens_details": {"cached_tokens": 600},
            "output_tokens_details": {"reasoning_tokens": 50},
        },
    }


def openai_embeddings(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "list",
        "model": asked["model"],
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}],
        "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
    }


def anthropic_messages(asked: dict[str, Any]) -> dict[str, Any]:
    parts = [m["content"] for m in asked["messages"] if isinstance(m["content"], list)]
    answered = any(part.get("type") == "tool_result" for part in itertools.chain(*parts))
    first = bool(asked.get("tools")) and not answered
    tool = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
    return {
        "id": f"msg_{next(ids)}",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [tool if first else {"type": "text", "text": "Sunny."}],
        "stop_reason": "tool_use" if first else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 300,
            "cache_read_input_tokens": 600,
            "cache_creation_input_tokens": 100,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 60,
                "ephemeral_1h_input_tokens": 40,
            },
            "output_tokens": 200,
            "service_tier": "standard",
        },
    }


def google_content(asked: dict[str, Any]) -> dict[str, Any]:
    answered = any("functionResponse" in part for c in asked["contents"] for part in c["parts"])
    first = bool(asked.get("tools")) and not answered
    call = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [call if first else {"text": "Sunny."}]},
                "finishReason": "STOP",
            }
        ],
        "modelVersion": "gemini-2.5-flash",
        "responseId": f"gemini-{next(ids)}",
        "usageMetadata": {
            "promptTokenCount": 1000,
            "cachedContentTokenCount": 600,
            "candidatesTokenCount": 150,
            "thoughtsTokenCount": 50,
            "totalTokenCount": 1200,
        },
    }


def event(data: Mapping[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def chat_events(asked: dict[str, Any]) -> Iterator[bytes]:
    """The usage comes last, and where it was asked for only."""
    whole = openai_chat(asked)
    usage = whole.pop("usage")
    chunk = whole | {"object": "chat.completion.chunk"}
    for text in ("Sun", "ny."):
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}}
        yield event(chunk | {"choices": [choice | {"finish_reason": None}]})
    yield event(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield event(chunk | {"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def response_events(asked: dict[str, Any]) -> Iterator[bytes]:
    whole = openai_responses(asked)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    text = {"item_id": whole["output"][0]["id"], "output_index": 0, "content_index": 0}
    delta = {"delta": "Sunny.", "logprobs": []}
    for number, (name, data) in enumerate(
        (
            ("response.created", {"response": begun}),
            ("response.output_text.delta", text | delta),
            ("response.completed", {"response": whole}),
        )
    ):
        yield event({"type": name, "sequence_number": number} | data, name)


def message_events(asked: dict[str, Any]) -> Iterator[bytes]:
    whole = anthropic_messages(asked)
    begun = whole | {"content": [], "stop_reason": None}
    begun["usage"] = whole["usage"] | {"output_tokens": 1}
    text = {"type": "text", "text": ""}
    for name, data in (
        ("message_start", {"message": begun}),
        ("content_block_start", {"index": 0, "content_block": text}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Sunny."}}),
        ("content_block_stop", {"index": 0}),
        (
            "message_delta",
            {
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 200},
            },
        ),
        ("message_stop", {}),
    ):
        yield event({"type": name} | data, name)


STREAMS = {
    "/chat/completions": chat_events,
    "/responses": response_events,
    "/messages": message_events,
}
ANSWERS = {
    "/chat/completions": openai_chat,
    "/responses": openai_responses,
    "/embeddings": openai_embeddings,
    "/messages": anthropic_messages,
    ":generateContent": google_content,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    failed: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        question = json.loads(asked)
        if question.get("stream") is True:
            self.stream(next(make for end, make in STREAMS.items() if path.endswith(end)), question)
            return
        make = next((make for end, make in ANSWERS.items() if path.endswith(end)), None)
        status = 200 if make else 404
        if "fails-once" in question.get("model", "") and question["model"] not in self.failed:
            self.failed.add(question["model"])
            status = 500
        body = json.dumps(make(question) if make and status == 200 else {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(
        self, make: Callable[[dict[str, Any]], Iterator[bytes]], asked: dict[str, Any]
    ) -> None:
        """One of the model `endless` goes on until nobody reads it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        events = list(make(asked))
        if "endless" in asked["model"]:
            events = [events[0], *events[1:2] * 1_000_000]
        with contextlib.suppress(OSError):
            for each in events:
                self.wfile.write(each)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def model_server() -> Iterator[str]:
    """Its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
