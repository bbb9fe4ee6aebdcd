"""Which cost a reported call has: given, computed, the sender's, or unknown."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from opslog.models import InferenceEvent, InferenceHour, OperationsEvent
from opslog.telemetry import rollup
from opslog.telemetry.accepting import HALF_KNOWN, NO_USAGE, UNPRICED, accept_inference
from opslog.telemetry.costs import DIFFER, differing, prefer
from opslog.telemetry.drafts import InferenceDraft
from tests import factories
from tests.telemetry.recomputed import differences

HOUR = timedelta(hours=1)


def draft(event_id: str, **kw: Any) -> InferenceDraft:
    return InferenceDraft(event_id=event_id, **{"model": "gpt-4o-mini", **kw})


def costs(event_id: str) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    row = InferenceEvent.objects.get(event_id=event_id)
    return row.cost_usd, row.sender_cost_usd, row.computed_cost_usd


@pytest.mark.usefixtures("db")
class TestUnknown:
    """gpt-4o-mini costs $0.15 and $0.60 a million tokens."""

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"cached_input_tokens": 0},
            {"input_tokens": 0, "output_tokens": 0},
            {"success": False},
            {"tool_calls": {"web_search": 0}},
        ],
    )
    def test_no_tokens_and_no_cost_are_unknown_and_counted(self, fields: dict[str, Any]) -> None:
        factories.make_price()
        (outcome,) = accept_inference([draft("e", **fields)], source="api")
        assert (outcome.status, outcome.reason) == ("accepted", NO_USAGE)
        assert costs("e") == (None, None, None)
        rollup.refresh()
        assert InferenceHour.objects.get().unpriced == 1
        assert differences() == []

    def test_what_is_known_is_priced(self) -> None:
        factories.make_price(input="0.15", output="0.60")
        drafts = [
            draft("in", input_tokens=1_000_000, output_tokens=0),  # $0.15
            draft("out", input_tokens=0, output_tokens=1_000_000),  # $0.60
            # rejected before it began: it used nothing, and says so
            draft("none", input_tokens=0, output_tokens=0, success=False),
            draft("cost", cost_usd=Decimal("0.5")),
            draft("sender", sender_cost_usd=Decimal("0.4")),
        ]
        assert {each.reason for each in accept_inference(drafts, source="api")} == {""}
        assert costs("in") == (Decimal("0.15"), None, None)
        assert costs("out") == (Decimal("0.60"), None, None)
        assert costs("none") == (Decimal(0), None, None)
        assert costs("cost") == (Decimal("0.5"), Decimal("0.5"), None)
        assert costs("sender") == (Decimal("0.4"), Decimal("0.4"), None)

    def test_a_part_without_a_price_makes_the_whole_unknown(self) -> None:
        factories.make_price()
        reported = draft("e", input_tokens=9, output_tokens=0, audio_input_tokens=1)
        (outcome,) = accept_inference([reported], source="api")
        assert outcome.reason == UNPRICED
        assert costs("e") == (None, None, None)

    @pytest.mark.parametrize(
        ("fields", "cost", "note"),
        [
            ({"output_tokens": 500}, None, HALF_KNOWN),
            ({"input_tokens": 10_000}, None, HALF_KNOWN),
            ({"tool_calls": {"web_search": 2}}, None, HALF_KNOWN),
            ({"input_tokens": 0, "output_tokens": 0, "tool_calls": {"web_search": 2}}, None,
             HALF_KNOWN),
            # 10,000 × $2.50 and 500 × $10.00 a million
            ({"input_tokens": 10_000, "output_tokens": 500}, "0.03", ""),
            ({"input_tokens": 10_000, "success": False}, "0.025", ""),
            # An embedding, whose output is free: the input is the whole.
            ({"model": "embed", "input_tokens": 10_000}, "0.001", ""),
            ({"model": "embed", "output_tokens": 10}, None, HALF_KNOWN),
            # What the sender worked out counts where the book cannot.
            ({"output_tokens": 500, "sender_cost_usd": Decimal("0.04")}, "0.04", ""),
        ],
    )  # fmt: skip
    def test_half_of_a_usage_is_not_priced_as_the_whole(
        self, fields: dict[str, Any], cost: str | None, note: str
    ) -> None:
        factories.make_price("gpt-4o", "2.50", "10.00", tool_prices={"web_search": "0.01"})
        factories.make_price("embed", "0.10", "0")
        (outcome,) = accept_inference([draft("e", **{"model": "gpt-4o", **fields})], source="api")
        assert (costs("e")[0], outcome.reason) == (cost and Decimal(cost), note)


@pytest.mark.usefixtures("db")
class TestTwoCosts:
    @pytest.mark.parametrize("wins", ["computed", "sender"])
    def test_a_sender_s_zero_is_not_the_cost_of_tokens(self, wins: str) -> None:
        factories.make_price(input="0.15", output="0.60")
        prefer(wins, by="admin", reason="the gateway knows our contract")
        used = {"input_tokens": 1000, "output_tokens": 100, "sender_cost_usd": Decimal(0)}
        accept_inference(
            [
                draft("unlisted", model="unlisted", **used),
                draft("listed", **used),  # 1,000 × $0.15 and 100 × $0.60 a million
                draft("given", cost_usd=Decimal(0), **used),
                draft("nothing", input_tokens=0, output_tokens=0, sender_cost_usd=Decimal(0)),
            ],
            source="api",
        )
        assert costs("unlisted") == (None, None, None)
        assert costs("listed") == (Decimal("0.00021"), None, None)
        assert costs("given") == (Decimal(0), Decimal(0), Decimal("0.00021"))
        assert costs("nothing") == (Decimal(0), Decimal(0), None)
        rollup.refresh()
        assert sum(InferenceHour.objects.values_list("unpriced", flat=True)) == 1

    @pytest.mark.parametrize(
        ("wins", "counts"),
        [
            ("computed", {"both": "0.15", "sender": "0.4"}),
            ("sender", {"both": "0.2", "sender": "0.4"}),
        ],
    )
    def test_a_row_decides_which_counts(self, wins: str, counts: dict[str, str]) -> None:
        factories.make_price(input="0.15", output="0.60")
        prefer(wins, by="admin", reason="the gateway knows our contract")
        accept_inference(
            [
                draft(
                    "both", input_tokens=1_000_000, output_tokens=0, sender_cost_usd=Decimal("0.2")
                ),
                draft("sender", sender_cost_usd=Decimal("0.4")),
                draft("book", input_tokens=1_000_000, output_tokens=0),
                # a cost that is given counts, whatever the others are
                draft("given", input_tokens=1_000_000, output_tokens=0, cost_usd=Decimal("0.3")),
            ],
            source="otlp",
        )
        assert costs("both") == (Decimal(counts["both"]), Decimal("0.2"), Decimal("0.15"))
        assert costs("sender") == (Decimal(counts["sender"]), Decimal("0.4"), None)
        assert costs("book") == (Decimal("0.15"), None, None)
        assert costs("given") == (Decimal("0.3"), Decimal("0.3"), Decimal("0.15"))

    def test_a_change_of_it_leaves_one_event(self) -> None:
        prefer("sender", by="root", reason="the gateway knows our contract")
        prefer("sender", by="root", reason="again")
        event = OperationsEvent.objects.get(kind="COST_PREFERENCE_CHANGE")
        assert event.actor == "root"
        assert event.meta["changes"] == {"wins": {"old": "computed", "new": "sender"}}
        for wrong in ({"wins": "both", "reason": "x"}, {"wins": "sender", "reason": " "}):
            with pytest.raises(ValueError, match=r"preference|reason"):
                prefer(**wrong, by="root")

    def test_more_than_five_percent_apart_is_counted(self) -> None:
        factories.make_price(input="1", output="1")
        accept_inference(
            [
                # $0.95 of $1.00 is 5 % off, which is not more; $0.949999999 is
                draft(
                    "5", input_tokens=1_000_000, output_tokens=0, sender_cost_usd=Decimal("0.95")
                ),
                draft(
                    "more",
                    input_tokens=1_000_000,
                    output_tokens=0,
                    sender_cost_usd=Decimal("0.949999999"),
                ),
                draft("zero", input_tokens=1_000_000, output_tokens=0, sender_cost_usd=Decimal(0)),
                draft(
                    "over", input_tokens=1_000_000, output_tokens=0, sender_cost_usd=Decimal("1.06")
                ),
                draft("alone", input_tokens=1_000_000, output_tokens=0),
            ],
            source="otlp",
        )
        rollup.refresh()
        assert InferenceHour.objects.get().differing == 2
        (found,) = differing(datetime.now(UTC) - HOUR)
        assert (found.model, found.calls, found.differing) == ("gpt-4o-mini", 5, 2)
        apart = InferenceEvent.objects.filter(DIFFER).values_list("event_id", flat=True)
        assert set(apart) == {"more", "over"}  # zero says that the sender had no price


NAMES = (
    "event_id,created_at,model,input_tokens,output_tokens,cached_input_tokens,cost_usd,"
    "cache_write_1h_tokens,service_tier,units,sender_cost_usd,tool_calls"
)


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_imported_line(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At $1 and $2 a million, $2 written for an hour, half in a batch, a cent a search."""
    factories.make_price(
        input="1",
        output="2",
        cache_write_1h_per_mtok=Decimal(2),
        image_input_per_mtok=Decimal(3),
        service_tiers={"batch": {"factor": "0.5"}},
        tool_prices={"web_search": "0.01"},
    )
    at = (datetime.now(UTC) - HOUR).isoformat()
    rows: list[dict[str, Any]] = [
        {"event_id": "nothing"},
        {"event_id": "zeros", "input_tokens": 0, "output_tokens": 0},
        {"event_id": "cost", "cost_usd": "0.25"},
        {"event_id": "sender", "sender_cost_usd": "0.5"},
        # (1,000,000 × 2 + 1,000,000 × 2) / 2 = $2
        {
            "event_id": "batch",
            "input_tokens": 1_000_000,
            "cache_write_1h_tokens": 1_000_000,
            "output_tokens": 1_000_000,
            "service_tier": "batch",
        },
        # 400,000 × 1 + 600,000 × 3 = $2.20, and two searches
        {
            "event_id": "units",
            "input_tokens": 1_000_000,
            "output_tokens": 0,
            "units": {"imageInputTokens": 600_000, "toolCalls": {"web_search": 2}},
        },
        {
            "event_id": "tools",
            "input_tokens": 1_000_000,
            "output_tokens": 0,
            "tool_calls": {"web_search": 1},
        },
        {"event_id": "flex", "input_tokens": 9, "service_tier": "flex"},
        {"event_id": "bad", "input_tokens": 9, "units": [1]},
    ]
    path = tmp_path / f"calls.{kind}"
    columns = NAMES.split(",")
    lines = [NAMES] if kind == "csv" else []
    for row in rows:
        row |= {"created_at": at, "model": "gpt-4o-mini"}
        if kind == "jsonl":
            lines.append(json.dumps(row))
            continue
        cells = [row.get(name, "") for name in columns]
        texts = [json.dumps(c) if isinstance(c, dict | list) else str(c) for c in cells]
        lines.append(",".join('"' + text.replace('"', '""') + '"' for text in texts))
    path.write_text("\n".join(lines))
    with pytest.raises(SystemExit):
        call_command("import_events", str(path))
    captured = capsys.readouterr()
    assert "8 imported, 0 there already, 1 refused, 3 of unknown cost" in captured.out
    assert "units: expected a JSON object" in captured.err
    found = dict(InferenceEvent.objects.values_list("event_id", "cost_usd"))
    assert found == {
        "nothing": None,
        "zeros": None,
        "cost": Decimal("0.25"),
        "sender": Decimal("0.5"),
        "batch": Decimal(2),
        "units": Decimal("2.22"),
        "tools": Decimal("1.01"),
        "flex": None,
    }
    assert InferenceHour.objects.get().unpriced == 3
    assert differences() == []
