"""Reading traces: the bundled one, and every way in which a file is none."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from budgets.demo.replay.trace import TraceError, read_trace
from budgets.demo.seeding import TRACE

HEADER = "created_at,model,client_id,input_tokens,output_tokens"
ROW = "2023-11-16T18:17:03.979960Z,azure-code-2023,-1,4808,10"


def test_the_bundled_trace_is_real_and_in_order() -> None:
    requests = list(read_trace(TRACE))
    assert len(requests) == 3000
    assert requests[0].input_tokens == 4808
    assert requests[0].client_id is None
    assert requests == sorted(requests, key=lambda request: request.created_at)
    assert len(list(read_trace(TRACE, limit=7))) == 7


def test_columns_may_stand_in_any_order_and_be_more(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "cacheable,output_tokens,input_tokens,client_id,model,created_at\n"
        "9,10,4808,3,m,2023-11-16T18:17:03\n"
    )
    (request,) = read_trace(path)
    assert (request.client_id, request.input_tokens, request.output_tokens) == (3, 4808, 10)
    assert request.created_at.tzinfo is not None


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}\n\n",
        f"\ufeff{HEADER}\r\n{ROW}\r\n\r\n",
        f"{HEADER}\n\n{ROW}\n,,,,\n",
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_and_blank_lines(tmp_path: Path, text: str, pack: Any) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(pack(text.encode()))
    (request,) = read_trace(path)
    assert (request.input_tokens, request.output_tokens) == (4808, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEADER + "\n", "has no requests"),
        ("a,b\n", ":1: no column created_at, model, client_id, input_tokens, output_tokens"),
        (f"{HEADER}\n{ROW}\nyesterday,m,-1,1,1\n", ":3: created_at 'yesterday' is no time"),
        (f"{HEADER}\n{ROW[:-3]}\n", ":2: 4 fields are too few"),
        (f"{HEADER}\n{ROW}x\n", ":2: output_tokens '10x' is no number"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('4808', '-1')}\n", ":3: input_tokens '-1' is no number"),
        (f"{HEADER}\n{ROW.replace('4808', '9' * 30)}\n", ":2: input_tokens '9999"),
        (f"{HEADER}\n{ROW.replace('azure-code-2023', ' ')}\n", ":2: model is empty"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('18:17', '18:16')}\n", ":3: is older than the row"),
        (f'{HEADER}\n"{ROW}\n', "is not CSV"),
        (f"{HEADER}\n\x00,\n", ":2: "),
    ],
)
def test_a_broken_trace_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        list(read_trace(path))
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "folder", "cut", "binary", "not gzip"])
def test_a_file_that_cannot_be_read(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "trace.csv.gz"
    packed = gzip.compress(f"{HEADER}\n{ROW}\n".encode() * 50)
    if damage == "folder":
        path.mkdir()
    elif damage == "cut":
        path.write_bytes(packed[: len(packed) // 2])
    elif damage == "binary":
        path.write_bytes(b"\xff\xfe\xfd" * 20)
    elif damage == "not gzip":
        path.write_bytes(b"\x1f\x8b and then nothing of that kind")
    with pytest.raises(TraceError, match=r"cannot be read|is not UTF-8"):
        list(read_trace(path))
