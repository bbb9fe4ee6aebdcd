"""Spans that look like model calls and are not understood: counted, shown, and reported back."""

from typing import Any

import pytest
from django.urls import reverse

from opslog.models import UnreadSpan
from opslog.principal import Principal
from opslog.telemetry import traces
from opslog.telemetry.otlp import read_spans
from opslog.telemetry.otlp_bodies import from_json
from tests.api.harness import Api
from tests.factories import client_of
from tests.telemetry_otlp.spans import CHAT, CHILD, NOW, export, now_nano, read, send, span

OWN = {"acme.llm.prompt_tokens": 1000, "acme.llm.completion_tokens": 10, "acme.llm.name": "m"}
NAMES = ["acme.llm.completion_tokens", "acme.llm.prompt_tokens"]


@pytest.mark.parametrize(
    ("attributes", "names", "lost"),
    [
        (OWN, NAMES, True),
        ({"llm.vendor_usage.cost_usd": 0.5}, ["llm.vendor_usage.cost_usd"], True),
        # A call all the same, of which a part is not read.
        ({**CHAT, "x.cache_tokens": 5}, ["x.cache_tokens"], False),
        (
            {**CHAT, "gen_ai.usage.input_tokens": 9, "x.cached_tokens": 5},
            ["x.cached_tokens"],
            False,
        ),
    ],
)  # fmt: skip
def test_what_looks_like_usage_and_is_in_no_convention(
    attributes: dict[str, Any], names: list[str], lost: bool
) -> None:
    spans = read(span(attributes))
    (unread,) = spans.unread
    assert (list(unread.names), unread.lost) == (names, lost)
    assert (unread.scope, unread.span_name) == ("t", "chat")
    assert len(spans.calls) == (not lost)


@pytest.mark.parametrize(
    "attributes",
    [
        # What is asked for, and what is left.
        {**CHAT, "gen_ai.request.max_tokens": 500, "llm.max_tokens": 5, "x.tokens_per_second": 9},
        {**CHAT, "gen_ai.usage.total_tokens": 9, "llm.headers.x-ratelimit-remaining-tokens": 5},
        {**CHAT, "gen_ai.cost.total_cost": 0.5, "gen_ai.cost.tool_usage_cost": 0.1},
        {**CHAT, "ai.response.providerMetadata": '{"anthropic": {"usage": {"input_tokens": 7}}}'},
        # Of other programs.
        {"shop.total_cost": 12.5, "order.id": 7},
        {"rate_limiter.tokens": 5},
        {"gen_ai.operation.name": "count_tokens", "x.input_tokens": 5},
        {"llm.prompt_tokens": 0},
        {"llm.prompt_tokens": "a lot"},
    ],
)
def test_what_is_none(attributes: dict[str, Any]) -> None:
    assert read(span(attributes, name="work")).unread == []


def test_it_is_reported_in_the_answer(api: Api) -> None:
    began = now_nano()
    part = {**CHAT, "gen_ai.usage.input_tokens": 9, "x.cached_tokens": 5}
    answer = send(
        api,
        export(
            span(OWN, startTimeUnixNano=began),
            span(part, spanId=CHILD, startTimeUnixNano=began),
        ),
    )
    assert answer.status_code == 200
    body = answer.json()["partialSuccess"]
    assert body["rejectedSpans"] == "1"
    assert ", ".join(NAMES) in body["errorMessage"]
    assert "x.cached_tokens" in body["errorMessage"]
    only_part = send(api, export(span(part, spanId=CHILD, startTimeUnixNano=began)))
    assert "rejectedSpans" not in only_part.json()["partialSuccess"]  # a warning: zero


def write(*spans: dict[str, Any], sender: int = 1) -> None:
    traces.write(read_spans(from_json(export(*spans))), principal=Principal(owner_id=sender))


def test_kinds_are_counted_and_no_sender_makes_too_many(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MOST_UNREAD", 3)
    write(span(OWN, **NOW), span(OWN, spanId=CHILD, **NOW))
    write(span(OWN, **NOW), span({**CHAT, "x.cache_tokens": 5}, spanId=CHILD, **NOW))
    rows = UnreadSpan.objects.order_by("names").values_list("names", "spans", "lost")
    assert list(rows) == [(NAMES, 3, 3), (["x.cache_tokens"], 1, 0)]
    for number in range(9):
        write(span({f"llm.{number}.tokens": 1}, name="\x1b\n" + "n" * 999, **NOW))
    assert UnreadSpan.objects.count() == 3
    assert UnreadSpan.objects.latest("id").span_name == "  " + "n" * 198
    write(span(OWN, **NOW), sender=2)
    assert UnreadSpan.objects.filter(sender_id=2).count() == 1


def test_the_page(db: None) -> None:
    client = client_of("opslog.view_inferencehour")
    page = reverse("admin:opslog_unreadspan_changelist")
    hours = reverse("admin:opslog_inferencehour_changelist")
    assert "Every span with usage was understood." in client.get(page).content.decode()
    assert "none in the last 7 days" in client.get(hours).content.decode()
    write(span(OWN, name="<b>ask</b>", **NOW))
    text = client.get(page).content.decode()
    assert ", ".join(NAMES) in text
    assert "&lt;b&gt;ask&lt;/b&gt;" in text
    assert page in client.get(hours).content.decode()
    result = "1 kind seen in the last 7 days looks like model calls and is not in these sums"
    assert result in client.get(hours).content.decode()
