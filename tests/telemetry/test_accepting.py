"""What becomes of each item: duplicates, times, prices, limits of the token."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections

from opslog.models import InferenceEvent, StaleHour, ToolCall
from opslog.pricing.usage import UNITS
from opslog.principal import Principal
from opslog.telemetry.accepting import (
    UNPRICED,
    Status,
    accept_inference,
    accept_tools,
)
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from tests import factories

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def draft(event_id: str | None = "e1", **kw: Any) -> InferenceDraft:
    return InferenceDraft(event_id=event_id, **{"model": "gpt-4o-mini", **kw})


def statuses(drafts: list[InferenceDraft], **kw: Any) -> list[str]:
    result = accept_inference(drafts, **{"source": "api", "now": NOW, **kw})
    return [str(each.status) for each in result]


@pytest.mark.usefixtures("db")
class TestItems:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (NOW, NOW),
            (None, None),
            (NOW, None),
            (None, NOW - 47 * HOUR),
            (NOW - 48 * HOUR, NOW),
            (NOW - 48 * HOUR, None),
            (NOW - HOUR, (NOW - HOUR).astimezone(None)),
        ],
    )
    def test_the_same_id_is_the_same_event(
        self, first: datetime | None, second: datetime | None
    ) -> None:
        assert statuses([draft(created_at=first)]) == ["accepted"]
        assert statuses([draft(created_at=second)], now=NOW + HOUR / 2) == ["duplicate"]
        assert InferenceEvent.objects.count() == 1

    def test_sent_again_when_it_is_days_old(self) -> None:
        """Reported late, and again without its time for as long as that is safe."""
        assert statuses([draft(created_at=NOW - 48 * HOUR)]) == ["accepted"]
        assert statuses([draft()], now=NOW + 47 * HOUR) == ["duplicate"]

    def test_in_one_batch(self) -> None:
        assert statuses([draft("a"), draft("b"), draft("a")]) == [
            *("accepted", "accepted", "duplicate")
        ]
        assert statuses([draft("c"), draft("b"), draft("d")]) == [
            *("accepted", "duplicate", "accepted")
        ]
        assert InferenceEvent.objects.count() == 4

    def test_without_an_id_each_is_another(self) -> None:
        assert statuses([draft(None), draft(None), draft("")]) == ["accepted"] * 3
        assert InferenceEvent.objects.count() == 3

    def test_ids_of_model_calls_and_of_tool_calls_are_apart(self) -> None:
        assert statuses([draft("x")]) == ["accepted"]
        (result,) = accept_tools([ToolDraft(tool_name="t", event_id="x")])
        assert result.status is Status.ACCEPTED
        (result,) = accept_tools([ToolDraft(tool_name="t", event_id="x")])
        assert result.status is Status.DUPLICATE

    def test_ids_belong_to_no_token(self) -> None:
        """A service may send again with a new token. So two services need different ids."""
        assert statuses([draft("1")], principal=Principal(feature="chat")) == ["accepted"]
        assert statuses([draft("1")], principal=Principal(feature="search")) == ["duplicate"]
        assert InferenceEvent.objects.get().feature == "chat"

    @pytest.mark.parametrize(
        ("at", "status", "why"),
        [
            (NOW - 48 * HOUR, "accepted", ""),
            (NOW - 49 * HOUR, "refused", "48 hours"),
            (NOW + timedelta(minutes=4.9), "accepted", ""),
            (NOW + timedelta(minutes=5.1), "refused", "ahead"),
            (datetime.max.replace(tzinfo=UTC), "refused", "ahead"),
            (datetime.min.replace(tzinfo=UTC), "refused", "48 hours"),
        ],
    )
    def test_times(self, at: datetime, status: str, why: str) -> None:
        (result,) = accept_inference(
            [draft(created_at=at, cost_usd=Decimal(0))], source="api", now=NOW
        )
        assert (result.status, why in result.reason) == (status, True)
        assert InferenceEvent.objects.count() == (status == "accepted")

    def test_any_age(self) -> None:
        old = NOW - timedelta(days=3000)
        assert statuses([draft("a", created_at=old)], any_age=True) == ["accepted"]
        assert statuses([draft("a", created_at=old)], any_age=True) == ["duplicate"]
        ancient = draft("b", created_at=NOW - timedelta(days=4000))
        assert statuses([ancient], any_age=True) == ["refused"]
        # Years apart it is another event: files number theirs from 1.
        assert statuses([draft("a")], any_age=True) == ["accepted"]

    def test_cost_is_computed_with_cached_and_reasoning_tokens(self) -> None:
        factories.make_price(
            "thinker", "10", "100", cached_input_per_mtok=1, reasoning_per_mtok=1000
        )
        tokens: dict[str, Any] = {
            "input_tokens": 1_000_000,
            "cached_input_tokens": 600_000,
            "output_tokens": 500_000,
            "reasoning_tokens": 200_000,
        }
        statuses([draft(model="thinker", **tokens)])
        # 0.4 M × 10 + 0.6 M × 1 + 0.3 M × 100 + 0.2 M × 1000
        assert InferenceEvent.objects.get().cost_usd == Decimal("234.6")

    def test_a_told_cost_is_kept(self) -> None:
        factories.make_price()
        statuses([draft(input_tokens=10**6, cost_usd=Decimal("0.5000000005"))])
        assert InferenceEvent.objects.get().cost_usd == Decimal("0.5")

    def test_the_price_is_that_of_the_time_of_the_call(self) -> None:
        factories.make_price(input="1")
        factories.make_price(input="2", effective_from=NOW - 10 * HOUR)
        tokens = {"input_tokens": 1_000_000, "output_tokens": 0}
        statuses([draft("a", created_at=NOW - 11 * HOUR, **tokens), draft("b", **tokens)])
        costs = InferenceEvent.objects.order_by("created_at").values_list("cost_usd", flat=True)
        assert list(costs) == [1, 2]

    def test_the_price_is_that_of_the_provider_that_was_told(self) -> None:
        """One model, sold by two; without the provider nobody knows which price it is."""
        factories.make_price("llama-3", "1", provider="groq")
        factories.make_price("llama-3", "2", provider="aws")
        data = {"model": "llama-3", "input_tokens": 1_000_000, "output_tokens": 0}
        statuses(
            [
                draft("a", provider="groq", **data),
                draft("b", provider="aws.bedrock", **data),
                draft("c", **data),
            ]
        )
        costs = InferenceEvent.objects.order_by("event_id").values_list("model", "cost_usd")
        assert list(costs) == [("llama-3", 1), ("llama-3", 2), ("llama-3", None)]

    def test_without_a_price_the_cost_is_unknown_and_told_so(self) -> None:
        result = accept_inference([draft(model="nobody-sells-it", input_tokens=5)], source="api")
        assert (result[0].status, result[0].reason) == (Status.ACCEPTED, UNPRICED)
        assert InferenceEvent.objects.get().cost_usd is None

    def test_a_limited_token(self) -> None:
        principal = Principal(work_orders=("w1", "w2"), surface="cli", feature="chat")
        result = accept_inference(
            [
                draft("a", work_order_id="w1", feature="other", surface="web"),
                draft("b", work_order_id="w3"),
                draft("c"),
            ],
            source="api",
            principal=principal,
        )
        assert [each.status for each in result] == ["accepted", "refused", "accepted"]
        row = InferenceEvent.objects.get(event_id="a")
        assert (row.wo_id, row.feature, row.surface) == ("w1", "chat", "cli")
        (tool,) = accept_tools([ToolDraft(tool_name="t", work_order_id="w3")], principal=principal)
        assert tool.status is Status.REFUSED
        assert not ToolCall.objects.exists()

    def test_every_column(self) -> None:
        run = UUID("01a20084-921b-7fc9-a87f-3a8266b935a1")
        reported = InferenceDraft(
            event_id="e",
            created_at=NOW,
            model="m",
            user_id="u",
            feature="f",
            trigger_type="undo",
            input_tokens=30,
            cached_input_tokens=9,
            cache_write_tokens=3,
            cache_write_1h_tokens=4,
            output_tokens=15,
            reasoning_tokens=4,
            audio_input_tokens=8,
            cached_audio_input_tokens=6,
            image_input_tokens=7,
            audio_output_tokens=5,
            image_output_tokens=2,
            service_tier="batch",
            tool_calls={"web_search": 3, "file_search": 0},
            cost_usd=Decimal("0.1"),
            sender_cost_usd=Decimal("0.2"),
            success=False,
            run_id=run,
            work_order_id="w",
            agent_name="a",
            session_id="s",
            surface="web",
            user_agent="Ü/1",
        )
        accept_inference([reported], source="otlp")
        row = InferenceEvent.objects.get()
        units = {*UNITS, "tool_calls"}
        assert row.units == {
            "audioInputTokens": 8,
            "cachedAudioInputTokens": 6,
            "imageInputTokens": 7,
            "audioOutputTokens": 5,
            "imageOutputTokens": 2,
            "toolCalls": {"web_search": 3},
        }
        # The provider finds the price alone.
        for name in set(reported.__struct_fields__) - units - {"provider"}:
            column = "wo_id" if name == "work_order_id" else name
            assert getattr(row, column) == getattr(reported, name), name
        assert row.source == "otlp"

    def test_every_column_of_a_tool_call(self) -> None:
        reported = ToolDraft(
            event_id="e",
            created_at=NOW,
            tool_name="t",
            success=False,
            retries=2,
            duration_ms=7,
            inference_event_id="i",
            run_id=None,
            work_order_id="w",
            user_id="u",
            feature="f",
            agent_name="a",
            session_id="s",
        )
        accept_tools([reported])
        row = ToolCall.objects.get()
        for name in reported.__struct_fields__:
            column = "wo_id" if name == "work_order_id" else name
            assert getattr(row, column) == getattr(reported, name), name

    def test_few_statements(self, django_assert_num_queries: Any) -> None:
        factories.make_price()
        statuses([draft("warm")])
        with django_assert_num_queries(1):
            assert len(statuses([draft(f"e{n}") for n in range(1000)])) == 1000

    def test_hours_become_stale(self) -> None:
        statuses([draft("a"), draft("b", created_at=NOW - 5 * HOUR), draft("c")])
        assert StaleHour.objects.count() == 2
        statuses([draft("a")])
        assert StaleHour.objects.count() == 2


BAD: list[dict[str, Any]] = [
    {"model": ""},
    {"model": "  "},
    {"model": "m\n"},
    {"model": "m" * 201},
    {"feature": "f" * 101},
    {"user_id": "\x00"},
    {"session_id": "\ud800"},
    {"user_agent": "u" * 501},
    {"created_at": datetime(2026, 1, 1)},
    {"input_tokens": -1},
    {"input_tokens": 10**9 + 1},
    {"output_tokens": 10**10},
    {"input_tokens": 5, "cached_input_tokens": 6},
    {"input_tokens": 5, "cached_input_tokens": 3, "cache_write_tokens": 3},
    {"output_tokens": 5, "reasoning_tokens": 6},
    {"cost_usd": Decimal(-1)},
    {"cost_usd": Decimal("NaN")},
    {"cost_usd": Decimal(1_000_001)},
]


@pytest.mark.parametrize("fields", BAD, ids=str)
def test_no_draft_of_what_the_tables_refuse(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        draft(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_name": ""},
        {"tool_name": "t", "retries": -1},
        {"tool_name": "t", "duration_ms": -1},
        {"tool_name": "t", "inference_event_id": "a\tb"},
    ],
)
def test_no_draft_of_a_bad_tool_call(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ToolDraft(**fields)


SENDERS = 8


def sent_at_once(rounds: int) -> int:
    """How many rows there are after every round's event was sent by all, each with its own time."""

    def send(number: int, barrier: threading.Barrier) -> None:
        try:
            for nth in range(rounds):
                barrier.wait()
                at = NOW - timedelta(seconds=number)
                accept_inference([draft(f"e{nth}", created_at=at)], source="api", now=NOW)
        finally:
            connections.close_all()

    barrier = threading.Barrier(SENDERS)
    with ThreadPoolExecutor(SENDERS) as pool:
        for each in [pool.submit(send, number, barrier) for number in range(SENDERS)]:
            each.result()
    return InferenceEvent.objects.count()


def test_the_same_event_sent_at_once_with_other_times(committed_db: str) -> None:
    assert sent_at_once(20) == 20


def test_control_without_the_lock_the_race_happens(committed_db: str) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION tollgate.lock_event_ids(p_class integer, "
            "p_shares integer[]) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(0)'"
        )
    connections["owner"].close()
    assert sent_at_once(20) > 20


def test_batches_in_other_orders_do_not_deadlock(committed_db: str) -> None:
    names = [f"e{n}" for n in range(300)]

    def send(backwards: bool) -> list[str]:
        try:
            ordered = names[::-1] if backwards else names
            return statuses([draft(name, created_at=NOW) for name in ordered])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(send, [False, True] * 10))
    assert sum(each.count("accepted") for each in results) == 300
    assert InferenceEvent.objects.count() == 300
