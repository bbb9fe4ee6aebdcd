"""The sealer: what it seals, and when."""

from opslog.models import Seal, SealMembers
from tests.sealing.scene import Sealed, log_ids


def test_all_committed_events_are_sealed_once(sealed: Sealed) -> None:
    sealed.seal(3, 4)
    sealed.seal()
    members = [each for row in SealMembers.objects.order_by("seal_id") for each in row.event_ids]
    assert members == log_ids()
    assert list(Seal.objects.order_by("number").values_list("number", flat=True)) == [1, 2]
    report = sealed.verify()
    assert report.findings == []
    assert (report.events, report.sealed) == (7, 7)
    assert report.head == 2
