"""The search finds what a reading of the whole log finds, in pages of any size and any patience."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from opslog import events
from opslog.events import detail, filters
from opslog.events import search as event_search
from opslog.events.export import FORMATS, moment
from opslog.events.filters import Filters, Key
from opslog.models import OperationsEvent
from opslog.request_context import set_request_id


@pytest.fixture
def log(db: None) -> list[OperationsEvent]:
    """All that is in it, newest first; no two filters mean the same in it."""
    for number in range(24):
        set_request_id(f"request-{number // 2}" if number % 3 else "")
        order, agent = f"w{number % 3}", f"agent-{number % 4}"
        events.record(
            ("WORK_ORDER_START", "RATE_LIMIT_429", "START_REFUSED", "RUN_FINISHED")[number % 4],
            message=f"{agent} did 100% of_it" if number % 2 else f"{agent} waited",
            owner=("work_order", order) if number % 5 else ("grant", f"{number}"),
            actor=f"svc-{number % 2}",
            meta={
                "woId": order,
                "agentName": agent,
                "say": 'a "Quoted" \\ word' * (number % 7 == 0),
            },
        )
    set_request_id("")
    events.record("AGENT_CHANGED", message="agent-1", owner=("agent", "agent-1"), actor="ops")
    events.record("NOTE", message="w1", owner=("note", "w1"), actor="ops")
    return list(OperationsEvent.objects.all())


def text_in(event: OperationsEvent, text: str) -> bool:
    result = f"{event.message}\n{event.meta.get('say', '')}\n{event.meta.get('agentName', '')}"
    return text.lower() in result.lower()


# filters → what they mean, written once more
MEANING: dict[str, tuple[dict[str, Any], Callable[[OperationsEvent], bool]]] = {
    "nothing": ({}, lambda e: True),
    "kind": ({"kind": "RUN_FINISHED"}, lambda e: e.kind == "RUN_FINISHED"),
    "refusals": (
        {"kind": "refusals"},
        lambda e: e.kind in ("RATE_LIMIT_429", "START_REFUSED", "EXTENSION_REFUSED"),
    ),
    "no such kind": ({"kind": "NO_SUCH"}, lambda e: False),
    "actor": ({"actor": "svc-1"}, lambda e: e.actor == "svc-1"),
    "owner type": ({"owner_type": "grant"}, lambda e: e.owner_type == "grant"),
    "of work orders": ({"owner_type": "work_order"}, lambda e: e.owner_type == "work_order"),
    "owner": (
        {"owner_type": "work_order", "owner_id": "w1"},
        lambda e: (e.owner_type, e.owner_id) == ("work_order", "w1"),
    ),
    "owner of any type": ({"owner_id": "w1"}, lambda e: e.owner_id == "w1"),
    "work order": (
        {"work_order": "w1"},
        lambda e: (e.owner_type, e.owner_id) == ("work_order", "w1") or e.meta.get("woId") == "w1",
    ),
    "agent": (
        {"agent": "agent-1"},
        lambda e: (
            e.meta.get("agentName") == "agent-1"
            or (e.owner_type, e.owner_id) == ("agent", "agent-1")
        ),
    ),
    "request": ({"request_id": "request-2"}, lambda e: e.request_id == "request-2"),
    "text": ({"text": "WAITED"}, lambda e: text_in(e, "waited")),
    "per cent": ({"text": "100% of_"}, lambda e: text_in(e, "100% of_")),
    "no pattern": ({"text": "1__%"}, lambda e: False),
    "quotation": ({"text": '"quoted" \\ w'}, lambda e: text_in(e, '"quoted" \\ w')),
    "two": (
        {"kind": "RATE_LIMIT_429", "actor": "svc-1"},
        lambda e: e.kind == "RATE_LIMIT_429" and e.actor == "svc-1",
    ),
    "never together": ({"kind": "RATE_LIMIT_429", "actor": "svc-0"}, lambda e: False),
    "many": (
        {"kind": "refusals", "agent": "agent-1", "work_order": "w1", "text": "agent", "last": "1h"},
        lambda e: (
            e.kind in filters.REFUSALS
            and e.meta.get("agentName") == "agent-1"
            and e.meta.get("woId") == "w1"
        ),
    ),
}


@pytest.mark.parametrize("name", MEANING)
def test_it_finds_what_is_meant(log: list[OperationsEvent], name: str) -> None:
    result, is_meant = MEANING[name]
    wanted = [event.pk for event in log if is_meant(event)]
    assert bool(wanted) != (name in ("no such kind", "no pattern", "never together"))
    found = event_search.search(Filters(**result))
    assert [event.pk for event in found.events] == wanted
    assert found.more is None


@pytest.mark.parametrize("name", MEANING)
@pytest.mark.parametrize(("size", "seconds"), [(3, 60.0), (3, 0.0), (50, 0.0)])
def test_pages_fit_together(
    log: list[OperationsEvent],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size: int,
    seconds: float,
) -> None:
    """However little one request looks at, the pages together are the whole, each event once."""
    monkeypatch.setattr(event_search, "FIRST_CHUNK", 2)
    result, is_meant = MEANING[name]
    wanted = [event.pk for event in log if is_meant(event)]
    found: list[int] = []
    place: Key | None = None
    for _ in range(100):
        page = event_search.search(Filters(**result), after=place, size=size, seconds=seconds)
        found += [event.pk for event in page.events]
        assert len(page.events) <= size
        if page.more is None:
            break
        assert page.short or len(page.events) == size
        place = Key.parse(str(page.more))
    assert found == wanted


@pytest.mark.parametrize("name", MEANING)
def test_an_export_has_all_of_it(
    log: list[OperationsEvent], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(event_search, "BATCH", 2)
    result, is_meant = MEANING[name]
    batches = event_search.everything(Filters(**result), now=timezone.now())
    assert [e.pk for batch in batches for e in batch] == [e.pk for e in log if is_meant(e)]


def test_times_are_half_open(log: list[OperationsEvent]) -> None:
    first, last = log[-3], log[2]
    narrowed = Filters(since=first.created_at, until=last.created_at)
    assert [e.pk for e in event_search.search(narrowed).events] == [e.pk for e in log[3:-2]]
    nothing = replace(narrowed, until=first.created_at)
    assert event_search.search(nothing).events == []
    later = Filters(last="1h")
    tomorrow = timezone.now() + timedelta(days=1)
    assert event_search.search(later, now=tomorrow).events == []


def test_an_export_is_of_one_moment(log: list[OperationsEvent]) -> None:
    now = timezone.now()
    events.record("NOTE", message="afterwards", actor="ops")
    batches = event_search.everything(Filters(kind="NOTE"), now=now)
    assert [e.message for batch in batches for e in batch] == ["w1"]


def test_the_rarest_filter_drives(log: list[OperationsEvent]) -> None:
    """By the planner's statistics, which a test database has not: they are put in its place."""
    expected = {"kind": 5.0, "actor": 900.0, "owner": 70.0}
    search = event_search.Search(Filters(kind="NOTE", actor="ops"), now=timezone.now())
    assert search.driver in ("kind", "actor")

    class Told(event_search.Search):
        @staticmethod
        def _expected(conditions: Any) -> float:
            sql = conditions[0].sql
            return next(rows for name, rows in expected.items() if sql.startswith(name))

    narrowed = Filters(kind="NOTE", actor="ops", owner_type="note", owner_id="w1")
    assert Told(narrowed, now=timezone.now()).driver == "kind"
    expected["kind"] = 1000.0
    assert Told(narrowed, now=timezone.now()).driver == "owner"


def test_nothing_is_counted_and_nothing_skipped(log: list[OperationsEvent]) -> None:
    """No OFFSET, and a count only of rows that a LIMIT has bounded."""
    for item, _ in MEANING.values():
        with CaptureQueriesContext(connection) as seen:
            event_search.search(Filters(**item))
        assert len(seen) <= 12  # most of them are questions to the planner
        for query in seen.captured_queries:
            assert "OFFSET" not in query["sql"]
            if "count(*)" in query["sql"]:
                assert query["sql"].rstrip().endswith("tested")
                assert "LIMIT" in query["sql"]


@pytest.mark.parametrize(
    "text",
    ["", "x", "2026-01-01", "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z/-1",
     "2026-13-01T00:00:00.000000Z/1", "2026-01-01T00:00:00.000000Z/1234567890123456789",
     "2026-01-01T00:00:00.000000Z/1;--", "2026-01-01T00:00:00.000000Z/١"],
)  # fmt: skip
def test_no_place(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Key.parse(text)


def test_a_place_comes_back_as_it_was() -> None:
    key = Key(datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), 42)
    assert Key.parse(str(key)) == key


@pytest.mark.parametrize(
    ("meta", "result"),
    [
        ({}, []),
        ({"changes": {"cap": {"old": 1, "new": 2}, "b": {"old": None, "new": "x"}}},
         [("b", None, "x"), ("cap", 1, 2)]),
        ({"before": {"a": 1, "b": 2}, "after": {"a": 1, "b": 3, "c": 4}},
         [("b", 2, 3), ("c", None, 4)]),
        ({"before": None, "after": {"a": 1}}, [("a", None, 1)]),
        ({"old": "draft", "new": "suspended"}, [("status", "draft", "suspended")]),
        ({"changes": "many"}, []),
        ({"changes": {"a": "b"}}, []),
        ([1, 2], []),
    ],
)  # fmt: skip
def test_before_and_after(meta: Any, result: list[Any]) -> None:
    found = detail.changes(OperationsEvent(meta=meta))
    assert [(each.field, each.old, each.new) for each in found] == result


def test_neighbours(log: list[OperationsEvent]) -> None:
    of_w1 = [e for e in log if (e.owner_type, e.owner_id) == ("work_order", "w1")]
    before, after = detail.beside(of_w1[1])
    assert (before, after) == (of_w1[2], of_w1[0])
    assert detail.beside(of_w1[0])[1] is None
    assert detail.beside(of_w1[-1])[0] is None
    # The test is one transaction: all of it is one act.
    assert of_w1[1].pk not in [e.pk for e in detail.same_act(of_w1[1])]
    assert len(detail.same_act(of_w1[1])) == 20
    alone = OperationsEvent(owner_id="", request_id="", xact=0)
    assert detail.beside(alone) == (None, None)
    assert detail.same_act(alone) == detail.same_request(alone) == []


def test_the_names_there_are(log: list[OperationsEvent]) -> None:
    assert filters._read_names("kind") == sorted({e.kind for e in log})
    assert filters._read_names("owner_type") == sorted({e.owner_type for e in log} - {""})


def test_lines_of_a_file(log: list[OperationsEvent]) -> None:
    event = log[0]
    event.message = "two\nlines, \u2028 and a third"
    as_csv, as_json = FORMATS["csv"][2](event), FORMATS["jsonl"][2](event)
    assert f'"{moment(event.created_at)}"' in as_csv
    assert as_json.isascii()
    assert as_json.count("\n") == 1
