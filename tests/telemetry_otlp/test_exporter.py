"""The real SDK and the real exporter of OpenTelemetry against a real server; and JSON by hand."""

import gzip
import http.server
import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from opslog.api.batches import MAX_BATCH
from tests.api.harness import Api
from tests.telemetry_otlp.spans import CHILD, export, now_nano, send, span
from tests.waiting import HANG_SECONDS

PROTOBUF = "application/x-protobuf"


class Kept(SpanExporter):
    """Keeps the spans, so that a test sends them itself, as often as it likes."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def trace(user: str) -> list[ReadableSpan]:
    """A request with a call of a model that asks for a tool, and a failed call; as a program that
    is instrumented makes them."""
    kept = Kept()
    provider = TracerProvider(
        resource=Resource.create({"service.name": "editor", "tollgate.feature": "summary"})
    )
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("editor")
    with tracer.start_as_current_span("POST /summaries"):  # noqa: SIM117  (as spans nest)
        with tracer.start_as_current_span("invoke_agent") as agent:
            agent.set_attributes(
                {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 999}
            )
            with tracer.start_as_current_span("chat gpt-4o-mini") as call:
                call.set_attributes(
                    {
                        "gen_ai.operation.name": "chat",
                        "gen_ai.provider.name": "openai",
                        "gen_ai.request.model": "gpt-4o-mini",
                        "gen_ai.usage.input_tokens": 1_000_000,
                        "gen_ai.usage.output_tokens": 100_000,
                        "gen_ai.response.finish_reasons": ["tool_calls"],
                        "user.id": user,
                    }
                )
                with tracer.start_as_current_span("execute_tool fetch") as tool:
                    tool.set_attributes(
                        {
                            "gen_ai.operation.name": "execute_tool",
                            "gen_ai.tool.name": "fetch",
                            "user.id": user,
                        }
                    )
            with tracer.start_as_current_span("chat") as failed:
                failed.set_attributes(
                    {
                        "gen_ai.system": "openai",
                        "gen_ai.request.model": "gpt-4o-mini",
                        "user.id": user,
                    }
                )
                failed.set_status(StatusCode.ERROR, "429")
    provider.shutdown()
    return kept.spans


def exporter(api: Api, url: str = "", **more: Any) -> OTLPSpanExporter:
    return OTLPSpanExporter(
        endpoint=f"{url or api.service.url}/v1/traces",
        headers={"authorization": f"Bearer {api.tokens['ingest']}"},
        **more,
    )


def calls_of(api: Api, user: str) -> list[tuple[Any, ...]]:
    return api.sql(
        "SELECT model, feature, surface, source, input_tokens, output_tokens, cost_usd, success"
        " FROM inference_events WHERE user_id = %s ORDER BY input_tokens DESC",
        user,
    )


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_real_exporter(api: Api, compression: Compression) -> None:
    user = f"u-{compression.value}"
    spans = trace(user)
    assert len(spans) == 5
    sender = exporter(api, compression=compression)
    for _ in range(2):  # sent again after an answer that got lost: nothing is doubled
        assert sender.export(spans) is SpanExportResult.SUCCESS
    good, failed = calls_of(api, user)
    assert good[:6] == ("gpt-4o-mini", "summary", "editor", "otlp", 1_000_000, 100_000)
    assert str(good[6]) == "0.210000000"  # a million in at $0.15, a hundred thousand out at $0.60
    assert (good[7], failed[7]) == (True, False)
    tools = api.sql(
        "SELECT t.tool_name, t.success, t.feature, e.input_tokens FROM tool_calls t"
        " JOIN inference_events e ON e.event_id = t.inference_event_id WHERE t.user_id = %s",
        user,
    )
    assert tools == [("fetch", True, "summary", 1_000_000)]


@contextmanager
def unsure(target: str) -> Iterator[str]:
    """A proxy that hands the first export on, and then says that it could not."""
    times = iter(range(100))

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = httpx2.post(
                f"{target}{self.path}",
                timeout=HANG_SECONDS,
                content=body,
                headers={name: self.headers[name] for name in ("Content-Type", "Authorization")},
            )
            self.send_response(503 if next(times) == 0 else answer.status_code)
            self.send_header("Content-Type", PROTOBUF)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_retry_of_the_exporter_doubles_nothing(api: Api) -> None:
    with unsure(api.service.url) as url:
        assert exporter(api, url).export(trace("u-retry")) is SpanExportResult.SUCCESS
    assert len(calls_of(api, "u-retry")) == 2
    assert api.sql("SELECT count(*) FROM tool_calls WHERE user_id = 'u-retry'") == [(1,)]


def test_json_by_hand(api: Api) -> None:
    attributes = {"gen_ai.request.model": "gpt-4o-mini", "user.id": "u-json"}
    body = export(
        span(attributes, traceId="ab" * 16, startTimeUnixNano=now_nano()),
        span({"http.request.method": "GET"}, spanId=CHILD),
    )
    for sent, headers in ((body, {}), (gzip.compress(body, mtime=0), {"Content_Encoding": "gzip"})):
        answer = send(api, sent, **headers)
        assert (answer.status_code, answer.json()) == (200, {})
        assert answer.headers["Content-Type"] == "application/json"
    assert api.sql("SELECT event_id FROM inference_events WHERE user_id = 'u-json'") == [
        (f"{'ab' * 16}:eee19b7ec3c1b174",)
    ]


def test_partial_success_counts_and_names_what_was_refused(api: Api) -> None:
    attributes = {"gen_ai.request.model": "gpt-4o-mini", "user.id": "u-part"}
    body = export(
        span(attributes, traceId="cd" * 16, startTimeUnixNano=now_nano()),
        span(attributes, spanId="00" * 8, startTimeUnixNano=now_nano()),
        span(attributes, spanId=CHILD, startTimeUnixNano=now_nano(timedelta(days=5))),
    )
    answer = send(api, body)
    assert answer.status_code == 200
    payload = answer.json()["partialSuccess"]
    assert payload["rejectedSpans"] == "2"
    assert "spanId" in payload["errorMessage"]
    assert f"span {CHILD}: createdAt" in payload["errorMessage"]
    assert len(calls_of(api, "u-part")) == 1


def test_partial_success_in_protobuf(api: Api) -> None:
    request = ExportTraceServiceRequest()
    sent = request.resource_spans.add().scope_spans.add().spans.add(name="chat")
    sent.attributes.add(key="gen_ai.request.model").value.string_value = "m"
    answer = send(api, request.SerializeToString(), Content_Type=PROTOBUF)
    assert answer.headers["Content-Type"] == PROTOBUF
    result = ExportTraceServiceResponse.FromString(answer.content)
    assert result.partial_success.rejected_spans == 1


def test_more_spans_than_a_transaction_takes(api: Api) -> None:
    began = now_nano()
    body = export(
        *(
            span(
                {"gen_ai.request.model": "m", "user.id": "u-many"},
                spanId=f"{number:016x}",
                startTimeUnixNano=began,
            )
            for number in range(1, 2502)
        )
    )
    assert send(api, gzip.compress(body, mtime=0), Content_Encoding="gzip").json() == {}
    assert api.sql("SELECT count(*) FROM inference_events WHERE user_id = 'u-many'") == [(2501,)]


BOMB = gzip.compress(b" " * (MAX_BATCH + 1), mtime=0)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, 3),
        (b"[]", {}, 400, 3),
        (b'{"resourceSpans": [{"resource": "text"}]}', {}, 400, 3),
        (
            b'{"resourceSpans": [{"resource": {"attributes": ["text"]}, "scopeSpans": null}]}',
            {},
            400,
            3,
        ),
        (b"\xff\xff\xff", {"Content_Type": PROTOBUF}, 400, 3),
        (b"not gzip", {"Content_Encoding": "gzip"}, 400, 3),
        (gzip.compress(b"{}" * 50, mtime=0)[:-9], {"Content_Encoding": "gzip"}, 400, 3),
        (zlib.compress(b"{}"), {"Content_Encoding": "deflate"}, 415, 3),
        (b"", {"Content_Encoding": "deflate"}, 415, 3),
        (b"{}", {"Content_Type": "text/plain"}, 415, 3),
        (BOMB, {"Content_Encoding": "gzip"}, 413, 8),
        (b" " * 10_000_000, {}, 413, 8),
        (b"\x00" * 10_000_000, {"Content_Type": PROTOBUF}, 413, 8),
    ],
)
def test_broken_bodies_are_refused_in_the_shape_of_otlp(
    api: Api, body: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    answer = send(api, body, **headers)
    assert answer.status_code == status
    if headers.get("Content_Type"):
        assert answer.headers["Content-Type"] == PROTOBUF
        result = Status.FromString(answer.content)
        assert (result.code, bool(result.message)) == (code, True)
    else:
        assert answer.json()["code"] == code
        assert answer.json()["message"]


def test_null_is_what_was_left_out(api: Api) -> None:
    """As in all JSON of protobuf."""
    answer = send(api, b'{"resourceSpans": [{"resource": null, "scopeSpans": null}]}')
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("token", "status", "code"), [(None, 401, 16), ("read", 403, 7), ("ingest", 200, None)]
)
def test_tokens(api: Api, token: str | None, status: int, code: int | None) -> None:
    answer = send(api, b"{}", token)
    assert answer.status_code == status
    assert answer.json().get("code") == code
    if status != 200:
        assert answer.headers["Tollgate-Denial"] in ("token", "scope")


def test_an_exporter_that_is_refused_does_not_try_again(api: Api) -> None:
    """401 is not among what an exporter repeats: a wrong token makes no storm."""
    sender = OTLPSpanExporter(endpoint=f"{api.service.url}/v1/traces", headers={"x-api-key": "no"})
    assert sender.export(trace("u-refused")) is SpanExportResult.FAILURE
    assert calls_of(api, "u-refused") == []


def test_nothing_of_this_went_wrong_inside(api: Api) -> None:
    assert json.dumps(api.errors()) == "[]"
