"""Requests of every kind to the endpoints that the door answers, byte for byte as they are sent."""

import json
from collections.abc import Mapping
from itertools import product

from tests.api.harness import WORK_ORDER
from tests.server.raw import START

ALL = "{all}"  # in its place comes the token with all scopes
SPEND = "/v1/llm/spend"
FINISH = "/api/work-orders/runs/{run}/finish"
EXTEND = "/api/work-orders/runs/{run}/extend"
NOBODY = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
ASK = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}
PRICED = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "model": "gpt-4o-mini"}
USAGE = {"model": "gpt-4o-mini", "inputTokens": 1000, "outputTokens": 10}
JSON = {"Content-Type": "application/json"}


def request(
    path: str,
    body: bytes | Mapping[str, object] = b"",
    *,
    method: str = "POST",
    version: str = "1.1",
    host: str | None = "localhost",
    token: str | None = ALL,
    **headers: str,
) -> bytes:
    """As it is sent; `{…}` in it are replaced by a token, or by the last run."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    all_headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    if "Transfer-Encoding" not in all_headers and "Content-Length" not in all_headers:
        all_headers["Content-Length"] = str(len(data))
    lines += [f"{name}: {value}" for name, value in all_headers.items() if value != "-"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def chunked(body: Mapping[str, object], size: int = 7) -> bytes:
    data = json.dumps(body).encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


TE = {"Transfer_Encoding": "chunked"}
STARTS = {
    "plain": request(START, ASK),
    "all fields": request(
        START,
        {
            **PRICED,
            "estimatedInputTokens": 10,
            "estimatedOutputTokens": 2,
            "leaseSeconds": 60,
            "userId": "Ann",
            "surface": "Web",
            "feature": "digest",
            "confirm": True,
        },
    ),
    "names in another spelling": request(START, {**ASK, "agentName": " Ａgent-1\u200b "}),
    "priced": request(START, {**PRICED, "estimatedInputTokens": 5}),
    "unpriced": request(START, {**ASK, "model": "nobody-s", "estimatedCostUsd": None}),
    "dry run": request(START, {**ASK, "dryRun": True}),
    "over five dollars": request(START, {**ASK, "estimatedCostUsd": 6}),
    "over five dollars, confirmed": request(START, {**ASK, "estimatedCostUsd": 6, "confirm": True}),
    "unknown work order": request(START, {**ASK, "workOrderId": "nowhere"}),
    "the last": request(START, {**ASK, "workOrderId": "full"}),
    "full": request(START, {**ASK, "workOrderId": "full"}),
    "the last of the day": request(START, {**ASK, "workOrderId": "used-up"}),
    "runs are used up": request(START, {**ASK, "workOrderId": "used-up"}),
    "suspended": request(START, {**ASK, "workOrderId": "suspended"}),
    "tokens without a model": request(START, {**ASK, "estimatedInputTokens": 5}),
    "unknown field": request(START, {**ASK, "estimatedCostUSD": "1"}),
    "twice": request(START, b'{"workOrderId": "a", "workOrderId": "b", "agentName": "c"}'),
    "no JSON": request(START, b"{"),
    "no object": request(START, b"[]"),
    "empty": request(START),
    "null": request(START, b"null"),
    "deep": request(START, b"[" * 20_000),
    "not UTF-8": request(START, b'{"workOrderId": "\xff", "agentName": "a"}'),
    "a lone surrogate": request(START, b'{"workOrderId": "\\ud800", "agentName": "a"}'),
    "a NUL": request(START, b'{"workOrderId": "a\\u0000", "agentName": "a"}'),
    "wrong type": request(START, {**ASK, "leaseSeconds": "60"}),
    "a huge number": request(
        START, b'{"workOrderId":"a","agentName":"a","estimatedCostUsd":1e999}'
    ),
    "a huge number of tokens": request(START, {**PRICED, "estimatedInputTokens": 10**30}),
    "a negative amount": request(START, {**ASK, "estimatedCostUsd": "-1"}),
    "too much": request(START, {**ASK, "estimatedCostUsd": "1000000.01"}),
    "a byte order mark": request(START, b"\xef\xbb\xbf" + json.dumps(ASK).encode()),
    "UTF-16": request(START, json.dumps(ASK).encode("utf-16")),
    "two objects": request(START, json.dumps(ASK).encode() * 2),
    "twice, in other spellings": request(
        START, b'{"workOrderId": "a", "agentName": "c", "agent\\u004eame": "d"}'
    ),
    "a fraction of seconds": request(START, {**ASK, "leaseSeconds": 60.0}),
    "next to nothing": request(
        START, b'{"workOrderId": "a", "agentName": "a", "estimatedCostUsd": 1e-400000}'
    ),
    "NaN": request(START, b'{"workOrderId": "a", "agentName": "a", "estimatedCostUsd": NaN}'),
    "forty digits": request(START, {**ASK, "estimatedCostUsd": "0." + "1" * 30}),
    "too large": request(START, json.dumps(ASK).encode() + b" " * 65_536),
    "as large as can be": request(
        START, json.dumps(ASK).encode() + b" " * (65_536 - len(json.dumps(ASK)))
    ),
}
KEYS = {
    f"key {place}": request(START, ASK, Idempotency_Key=key)
    for place, key in enumerate(
        ["k-1", "k-1", '"k-1"', " k-2 ", '""', '"', "x" * 255, "x" * 256, "ä", "a\tb", "a,b"]
    )
} | {
    "key, other body": request(START, {**ASK, "estimatedCostUsd": "0.02"}, Idempotency_Key="k-1"),
    "two keys": request(START, ASK, Idempotency_Key="k-3").replace(
        b"Idempotency-Key: k-3", b"Idempotency-Key: k-3\r\nIdempotency-Key: k-4"
    ),
    "empty key": request(START, ASK, Idempotency_Key=""),
}
HEADERS = {
    "no content type": request(START, ASK, Content_Type="-"),
    "text": request(START, ASK, Content_Type="text/plain"),
    "with a charset": request(START, ASK, Content_Type="application/json; charset=utf-8"),
    "in capitals": request(START, ASK, Content_Type="Application/JSON"),
    "a broken type": request(START, ASK, Content_Type="application/json;;=;"),
    "two types": request(START, ASK).replace(
        b"Content-Type: application/json", b"Content-Type: application/json\r\nContent-Type: a/b"
    ),
    "a request id": request(START, ASK, X_Request_ID="mine-4.7_x"),
    "a request id that is none": request(START, ASK, X_Request_ID="a b"),
    "accepts XML": request(START, ASK, Accept="application/xml"),
    "another host": request(START, ASK, host="evil.example"),
    "a host with a port": request(START, ASK, host="localhost:8001"),
    "a host in capitals": request(START, ASK, host="LOCALHOST"),
    "a broken host": request(START, ASK, host="local host"),
    "no host": request(START, ASK, host=None),
    "an empty host": request(START, ASK, host=""),
    "a long host": request(START, ASK, host="localhost:" + "8" * 300),
    "a host that ends with a dot": request(START, ASK, host="localhost."),
    "a host and a name": request(START, ASK, host="localhost@evil.example"),
    "a long type": request(START, ASK, Content_Type="application/json; a=" + "b" * 300),
    "any type": request(START, ASK, Content_Type="*/*"),
    "what browsers send": request(
        START,
        ASK,
        Accept_Language="de",
        Accept_Encoding="gzip",
        Origin="http://evil.example",
        If_None_Match="*",
        X_HTTP_Method_Override="PUT",
    ),
    "two hosts": request(START, ASK).replace(b"Host: localhost", b"Host: localhost\r\nHost: x"),
    "x-api-key": request(START, ASK, token=None, x_api_key="{all}"),
    "both": request(START, ASK, token="{read}", x_api_key="{all}"),
    "Basic beside x-api-key": request(START, ASK, token=None, x_api_key="{all}").replace(
        b"x-api-key", b"Authorization: Basic abc\r\nX-API-Key"
    ),
    "bearer in small letters": request(START, ASK).replace(b"Bearer", b"bearer"),
    "a cookie": request(START, ASK, Cookie="sessionid=abc"),
    "no token": request(START, ASK, token=None),
    "no token of ours": request(START, ASK, token="abc"),
    "an unknown token": request(START, ASK, token="tg_" + "x" * 43),
    "another scope": request(START, ASK, token="{read}"),
    "forwarded": request(START, ASK, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https"),
    "underscores": request(START, ASK).replace(
        b"Content-Length", b"X_Forwarded_For: 1\r\nContent-Length"
    ),
    "an offer of HTTP/2": request(START, ASK, Upgrade="h2c", Connection="Upgrade"),
    "the end is near": request(START, ASK, Connection="close"),
    "expected to go on": request(START, ASK, Expect="100-continue"),
    "compressed, it says": request(START, ASK, Content_Encoding="gzip"),
}
FRAMING = {
    "chunked": request(START, chunked(ASK), **TE),
    "chunked, nothing": request(START, b"0\r\n\r\n", **TE),
    "chunked, broken": request(START, b"zz\r\n", **TE),
    "HTTP/1.0": request(START, ASK, version="1.0"),
    "HTTP/1.0, kept": request(START, ASK, version="1.0", Connection="keep-alive"),
    "HTTP/0.9": request(START, ASK, version="0.9"),
    "pipelined": request(START, ASK) + request(START, ASK),
    "a query": request(f"{START}?format=xml&x=%00", ASK),
    "escapes": request("/api/work%2Dorders/st%61rt", ASK),
    "broken escapes": request("/api/work-orders/start%", ASK),
    "a slash": request(f"{START}/", ASK),
    "two slashes": request(f"/{START}", ASK),
    "an absolute address": request(f"http://localhost{START}", ASK),
    "an absolute address of ours": request(f"http://localhost:47{START}", ASK, host="evil.example"),
    "an absolute address by number": request(f"http://[::1]:47{START}", ASK, host="evil.example"),
    "an absolute address elsewhere": request(f"http://evil.example{START}", ASK),
    "a fragment": request(f"{START}#x", ASK),
}
METHODS = {
    f"{method} {path}": request(path, method=method)
    for method, path in product(
        ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"),
        (START, FINISH.format(run=NOBODY), SPEND),
    )
}
RUNS = {
    "start": request(START, ASK),
    "extend": request(EXTEND, {"additionalUsd": "0.02"}, Idempotency_Key="e-1"),
    "extend again": request(EXTEND, {"additionalUsd": "0.02"}, Idempotency_Key="e-1"),
    "extend by nothing": request(EXTEND, {}),
    "extend, a lease": request(EXTEND, {"leaseSeconds": 30}),
    "extend, nonsense": request(EXTEND, {"leaseSeconds": 0}),
    "extend another's": request(EXTEND, {"leaseSeconds": 30}, token="{start}"),
    "finish another's": request(FINISH, {"status": "success", "costUsd": 0}, token="{start}"),
    "finish with both": request(FINISH, {"status": "success", "costUsd": 0, "usage": USAGE}),
    "finish with neither": request(FINISH, {"status": "success"}),
    "finish as nothing": request(FINISH, {"status": "running", "costUsd": 0}),
    "finish with parts over the whole": request(
        FINISH, {"status": "success", "usage": {**USAGE, "cachedInputTokens": 10_000}}
    ),
    "finish": request(FINISH, {"status": "success", "costUsd": "0.01"}),
    "finish again": request(FINISH, {"status": "success", "costUsd": "0.010"}),
    "finish otherwise": request(FINISH, {"status": "error", "costUsd": "0.01"}),
    "extend what is over": request(EXTEND, {"leaseSeconds": 30}),
    "another start": request(START, ASK),
    "finish by usage": request(FINISH, {"status": "success", "usage": USAGE}),
    "a third": request(START, ASK),
    "finish by the usage of nobody": request(
        FINISH, {"status": "error", "usage": {**USAGE, "model": "nobody-s"}}
    ),
    "finish nobody's": request(FINISH.format(run=NOBODY), {"status": "success", "costUsd": "0.01"}),
    "finish in capitals": request(
        FINISH.format(run=NOBODY.upper()), {"status": "success", "costUsd": "0.01"}
    ),
    "finish no run": request(FINISH.format(run="x"), {"status": "success", "costUsd": "0.01"}),
}
SPENDS = {
    "spend": request(SPEND, {"costUsd": "0.03", "userId": "ann"}),
    "spend with a key": request(SPEND, {"costUsd": 0.5, "agentName": "a"}, Idempotency_Key="s"),
    "spend again": request(SPEND, {"costUsd": 0.5, "agentName": "a"}, Idempotency_Key="s"),
    "spend by usage": request(SPEND, {"usage": USAGE}),
    "spend by usage, with its model": request(SPEND, {"usage": USAGE, "model": "gpt-4o-mini"}),
    "spend by another model": request(SPEND, {"usage": USAGE, "model": "other"}),
    "spend nothing": request(SPEND, {}),
    "spend too much": request(SPEND, {"costUsd": "1000001"}),
    "spend with another scope": request(SPEND, {"costUsd": 1}, token="{read}"),
}
TABLE = STARTS | KEYS | HEADERS | FRAMING | METHODS | RUNS | SPENDS


BY_HTTPS = {"X_Forwarded_Proto": "https"}
PROXIED = {
    "no word of the proxy": request(START, ASK),
    "by HTTP": request(START, ASK, X_Forwarded_Proto="http"),
    "by HTTPS": request(START, ASK, **BY_HTTPS),
    "the client said so": request(START, ASK, X_Forwarded_Proto="https, http"),
    "the proxy said so": request(START, ASK, X_Forwarded_Proto="http, https"),
    "finish nobody's": request(FINISH, {"status": "success", "costUsd": 0}, **BY_HTTPS),
    "spend": request(SPEND, {"costUsd": 0}, **BY_HTTPS),
    "an unknown token": request(START, ASK, token="tg_" + "x" * 43, **BY_HTTPS),
    "bad input": request(START, {}, **BY_HTTPS),
    **{
        f"from {hops}": request(START, ASK, X_Forwarded_For=hops, **BY_HTTPS)
        for hops in (
            "192.0.2.1",
            "192.0.2.9, 192.0.2.1",
            "192.0.2.1, 127.0.0.1",
            "192.0.2.1:47",
            "[2001:db8::1]:443",
            "::ffff:192.0.2.1",
            "nobody",
            "192.0.2.1, nobody",
            "",
        )
    },
}
