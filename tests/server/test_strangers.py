"""When tokens of an address are slowed."""

import pytest

from config.server.strangers import A_SECOND, Strangers


def test_only_after_many_wrong_ones_in_a_second() -> None:
    now = [100.0]
    watch = Strangers(lambda: now[0])
    for number in range(A_SECOND):
        assert not watch.too_many("192.0.2.1", "tg_new")
        watch.judged("192.0.2.1", f"tg_{number}", 401)
    assert watch.too_many("192.0.2.1", "tg_new")
    assert not watch.too_many("192.0.2.2", "tg_new")  # another address
    now[0] += 1
    assert not watch.too_many("192.0.2.1", "tg_new")


@pytest.mark.parametrize("status", [200, 201, 400, 403, 404, 409, 429])
def test_a_token_that_was_good_is_not_slowed(status: int) -> None:
    watch = Strangers(lambda: 100.0)
    watch.judged("192.0.2.1", "tg_good", status)
    for number in range(A_SECOND):
        watch.judged("192.0.2.1", f"tg_{number}", 401)
    assert not watch.too_many("192.0.2.1", "tg_good")
    watch.judged("192.0.2.1", "tg_good", 401)  # revoked meanwhile
    assert watch.too_many("192.0.2.1", "tg_good")


def test_an_outage_says_nothing_of_a_token() -> None:
    watch = Strangers(lambda: 100.0)
    watch.judged("192.0.2.1", "tg_any", 503)
    for number in range(A_SECOND):
        watch.judged("192.0.2.1", f"tg_{number}", 401)
    assert watch.too_many("192.0.2.1", "tg_any")
