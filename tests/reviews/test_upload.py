"""A bill that finance imports from the page: as the command does, and no more."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from budgets.admin import bills
from budgets.models import BilledCost, BillImport
from opslog.models import OperationsEvent
from tests.admin.scene import HOSTILE
from tests.factories import client_of
from tests.reviews.bills import HEADER, line

ADD = "admin:budgets_billimport_add"


@pytest.fixture
def client(db: None) -> Client:
    return client_of("budgets.view_billimport", group="finance")


def file(*lines: str, name: str = "bill.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, ("\n".join([HEADER, *lines]) + "\n").encode("utf-8-sig"))


def test_a_bill_is_imported_with_its_event(client: Client) -> None:
    answer = client.post(reverse(ADD), {"file": file(line("1.50"), line("2"))}, follow=True)
    assert "2 lines, $3.50." in answer.content.decode()
    made = BillImport.objects.get()
    event = OperationsEvent.objects.get(kind="BILL_IMPORTED")
    assert (made.file_name, made.imported_by, event.actor) == ("bill.csv", *[event.actor] * 2)
    assert event.meta["sha256"] == made.sha256


def test_bad_lines_are_told_by_their_number(client: Client) -> None:
    bad = [line("x"), line(HOSTILE.replace(",", ""))]
    text = client.post(reverse(ADD), {"file": file(line("1"), *bad)}).content.decode()
    assert "2 of 3 lines are bad; nothing was imported." in text
    assert "line 3: BilledCost is no number" in text
    assert "line 4: " in text
    assert HOSTILE not in text
    assert not BillImport.objects.exists()
    data = {"file": file(line("1"), *bad), "skip_bad": "on"}
    assert client.post(reverse(ADD), data).status_code == 302
    assert BillImport.objects.get().bad_lines == 2


def test_many_bad_lines_are_not_all_told(client: Client) -> None:
    lines = [line("x") for _ in range(bills.PROBLEMS_SHOWN + 5)]
    assert (
        "and 5 more bad lines" in client.post(reverse(ADD), {"file": file(*lines)}).content.decode()
    )


def test_a_part_of_a_period_needs_the_box(client: Client) -> None:
    client.post(reverse(ADD), {"file": file(line("1", 1), line("1", 2))})
    text = client.post(reverse(ADD), {"file": file(line("1", 1))}).content.decode()
    assert "1 lines, $1.00 and 1 days that are stored are not in the file." in text
    assert BilledCost.objects.count() == 2
    assert (
        client.post(reverse(ADD), {"file": file(line("1", 1)), "shrink": "on"}).status_code == 302
    )
    assert BilledCost.objects.count() == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "No FOCUS file"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "empty"),
        (b"x" * 4_000_001, "larger than 4 MB"),
    ],
)
def test_what_is_no_bill(client: Client, content: bytes, message: str) -> None:
    answer = client.post(reverse(ADD), {"file": SimpleUploadedFile("x.csv", content)})
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert not BillImport.objects.exists()


def test_it_is_for_who_keeps_the_bills(db: None) -> None:
    reader = client_of("budgets.view_billimport")
    assert reader.get(reverse(ADD)).status_code == 403
    assert reader.post(reverse(ADD), {"file": file(line("1"))}).status_code == 403
    assert not BillImport.objects.exists()
    text = client_of(group="finance").get(reverse(ADD)).content.decode()
    assert 'enctype="multipart/form-data"' in text
