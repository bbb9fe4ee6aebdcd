"""What waits: in turns, no more than is decided soon, and when to come back. Plain data."""

from collections import Counter as Tally

import pytest

from budgets.admission.batches import MOST, Ask
from budgets.gathering.queue import FairQueue, Line, Waiting


def waiting(sender: str, arrived: float = 0.0, deadline: float = 2.5) -> Waiting:
    ask = Ask("start", {})
    return Waiting(ask, sender.encode(), arrived, arrived, deadline, lambda answer: None)


def filled(**asks: int) -> FairQueue:
    queue = FairQueue()
    for sender, number in asks.items():
        for turn in range(number):
            queue.add(waiting(sender, arrived=len(sender) + turn))
    return queue


@pytest.mark.parametrize(
    ("asks", "batches"),
    [
        ({"a": 5}, [{"a": 5}]),
        ({"a": 100}, [{"a": 32}, {"a": 32}]),
        # No more than a quarter, while others have as much to ask.
        ({"a": 100, "b": 20, "c": 20, "d": 20}, [{"a": 8, "b": 8, "c": 8, "d": 8}] * 2),
        # What the others leave.
        ({"a": 100, "b": 3}, [{"a": 29, "b": 3}, {"a": 32}]),
        ({"a": 100, "b": 1, "c": 1}, [{"a": 30, "b": 1, "c": 1}]),
        # More senders than places: who had no turn is first in the next.
        (
            {f"s{number}": 2 for number in range(40)},
            [
                {f"s{number}": 1 for number in range(32)},
                {f"s{number % 40}": 1 for number in range(32, 64)},
            ],
        ),
    ],
)
def test_senders_take_turns(asks: dict[str, int], batches: list[dict[str, int]]) -> None:
    queue = filled(**asks)
    for batch in batches:
        assert Tally(each.sender.decode() for each in queue.take(MOST)) == batch


def test_a_batch_is_in_order_of_arrival() -> None:
    queue = FairQueue()
    for sender, arrived in (("a", 1.0), ("a", 2.0), ("a", 4.0), ("b", 3.0)):
        queue.add(waiting(sender, arrived))
    assert [each.arrived for each in queue.take(3)] == [1.0, 2.0, 3.0]
    assert queue.size == 1


def test_the_sender_with_most_makes_room() -> None:
    queue = filled(a=3, b=1)
    assert [queue.can_displace(sender) for sender in (b"a", b"b", b"c")] == [False, True, True]
    displaced = queue.displace()
    assert (displaced.sender, displaced.arrived) == (b"a", 3.0)  # its newest: 1, 2, 3
    assert queue.size == 3
    assert not queue.can_displace(b"b")  # it would have as many
    assert not FairQueue().can_displace(b"a")


def test_those_whose_time_is_over_are_taken_out() -> None:
    queue = FairQueue()
    for sender, deadline in (("a", 1.0), ("a", 3.0), ("b", 1.5)):
        queue.add(waiting(sender, deadline=deadline))
    assert [each.deadline for each in queue.overdue(1.5)] == [1.0, 1.5]
    assert queue.size == 1
    assert [each.deadline for each in queue.take(9)] == [3.0]


def line() -> Line:
    return Line(lanes=1, most=32, guess=0.05)


def measure(line: Line, *calls: tuple[int, float]) -> None:
    for asks, seconds in calls:
        line.under_way += 1
        line.ended(asks, seconds=seconds, now=0.0)


def test_as_many_may_wait_as_are_decided_in_four_tenths_of_a_second() -> None:
    measured = line()
    assert measured.room == 256  # 8 calls of 0.05 s, 32 asks each
    measure(measured, *[(32, 0.01)] * 60)
    assert measured.room == pytest.approx(1280, abs=32)  # 40 calls of 0.01 s
    measure(measured, *[(32, 2.0)] * 60)
    assert measured.room == 128  # four calls at least


def test_room_for_one_more() -> None:
    measured = line()
    for _ in range(measured.room - 1):
        measured.queue.add(waiting("a"))
    assert measured.has_room(b"a", 0.0)
    measured.queue.add(waiting("a"))
    assert not measured.has_room(b"a", 0.0)
    assert measured.has_room(b"b", 0.0)  # in the place of one of those
    assert not measured.has_room(b"b", 2.0)  # nothing ends


def test_a_burst_on_a_slow_machine_is_no_overload() -> None:
    """64 clients at once, 0.45 s a call: the last of them waits for 0.9 s, of 2.5 s."""
    slow = line()
    measure(slow, *[(32, 0.45)] * 60)
    slow.under_way = 1
    for number in range(64):
        assert slow.queue.size < slow.room
        assert not slow.is_stuck(0.44)
        slow.queue.add(waiting(str(number)))
    assert not slow.is_stuck(0.8)  # the call that is under way may take twice as long
    assert slow.is_stuck(1.0)
    measure(slow, *[(32, 2.0)] * 60)
    slow.under_way = 1
    assert slow.is_stuck(1.1)


def test_small_batches_say_nothing_of_how_long_a_queue_takes() -> None:
    measured = line()
    measure(measured, *[(2, 0.001)] * 60)
    assert measured.room == 256


def test_one_slow_call_is_no_slow_database() -> None:
    measured = line()
    measure(measured, (32, 2.0))
    # It counts for 3 × 0.05 s: 0.05 + 0.2 × 0.1 = 0.07 s a call, five in 0.4 s.
    assert measured.room == 160


def test_while_nothing_ends_it_is_stuck() -> None:
    stuck = line()
    assert not stuck.is_stuck(1.0)  # nothing waits
    stuck.under_way = 1
    stuck.queue.add(waiting("a"))
    assert not stuck.is_stuck(1.3)
    assert stuck.is_stuck(1.5)
    stuck.ended(1, seconds=0.6, now=1.6)
    assert not stuck.is_stuck(1.9)


def test_the_refused_come_back_when_there_is_time_for_them() -> None:
    refusing = line()  # decides 640 in a second
    results = [refusing.refuse(7.1).retry_after for _ in range(1400)]
    assert (results[0], results[639], results[640], results[1279], results[1280]) == (1, 1, 2, 2, 3)
    assert refusing.refuse(8.0).retry_after == 1  # another second
    measure(refusing, *[(32, 9.0)] * 60)
    assert refusing.refuse(8.5).retry_after <= 30
