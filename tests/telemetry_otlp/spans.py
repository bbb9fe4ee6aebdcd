"""Spans in OTLP's JSON, and their way to the service."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from opslog.telemetry.otlp import Spans, read_spans
from opslog.telemetry.otlp_bodies import from_json
from tests.api.harness import Api

NOW: dict[str, Any] = {"startTimeUnixNano": None, "endTimeUnixNano": None}


TRACE, SPAN, CHILD = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b175"
BEGAN = 1_764_158_400_000_000_000  # 2025-11-26 12:00 UTC


def value(of: Any) -> dict[str, Any]:
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return {kinds[type(of)]: str(of) if type(of) is int else of}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(of)} for key, of in attributes.items()]


def span(attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "chat",
        "startTimeUnixNano": str(BEGAN),
        "endTimeUnixNano": str(BEGAN + 2_500_000_000),
        "attributes": pairs(attributes),
        **more,
    }


def export(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> bytes:
    return json.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": pairs(resource or {})},
                    "scopeSpans": [{"scope": {"name": "t"}, "spans": list(spans)}],
                }
            ]
        }
    ).encode()


def read(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> Spans:
    return read_spans(from_json(export(*spans, resource=resource)))


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
FETCH = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
FAILED: Any = {"status": {"code": 2}}


def send(api: Api, body: bytes, who: str | None = "ingest", **headers: str) -> httpx2.Response:
    all_headers = {"Content-Type": "application/json"}
    all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    with api.client(who) as client:
        return client.post("/v1/traces", content=body, headers=all_headers)


def now_nano(ago: timedelta = timedelta()) -> str:
    return str(int((datetime.now(UTC) - ago).timestamp()) * 1_000_000_000)
