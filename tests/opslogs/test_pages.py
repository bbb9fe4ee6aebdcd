"""/ops-logs as people use it: addresses, the tail, files, saved views, old addresses."""

import csv
import io
import json
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from opslog import events
from opslog.events import export
from opslog.events.filters import Key
from opslog.models import OperationsEvent, SavedView
from tests import factories
from tests.access.walking import logged_in


def person(name: str, group: str = "auditor") -> Client:
    return logged_in(factories.make_user(name, groups=[group], is_staff=True))


@pytest.fixture
def auditor(db: None) -> Client:
    return person("auditor")


@pytest.fixture
def keeper(db: None) -> Client:
    """Somebody who may keep views, as all but auditors may."""
    permission = Permission.objects.get(codename="add_savedview")
    Group.objects.get(name="finance").permissions.add(permission)
    return person("keeper", "finance")


def record(kind: str = "NOTE", message: str = "", **meta: object) -> OperationsEvent:
    owner = ("work_order", "w1")
    pk = events.record(kind, message=message, owner=owner, actor="ops", meta=meta)
    return OperationsEvent.objects.get(pk=pk)


class Rows(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr" and (number := dict(attrs).get("data-event")):
            self.ids.append(int(number))


def shown(answer: object) -> list[int]:
    page = Rows()
    page.feed(answer.content.decode())  # type: ignore[attr-defined]
    return page.ids


def test_filters_are_in_the_address(auditor: Client) -> None:
    one, other = record("NOTE", "one"), record("OTHER_NOTE", "other")
    assert shown(auditor.get("/ops-logs"))[:2] == [other.pk, one.pk]
    assert shown(auditor.get("/ops-logs?kind=NOTE")) == [one.pk]
    assert shown(auditor.get("/ops-logs?text=OTHER&last=1h")) == [other.pk]
    page = auditor.get("/ops-logs?kind=NOTE&actor=ops").content.decode()
    assert f"/ops-logs/{one.pk}?kind=NOTE&amp;actor=ops" in page
    assert '<option value="NOTE" selected>' in page


def test_old_addresses_lead_there(auditor: Client) -> None:
    event = record("NOTE", "found")
    today = timezone.now().date()
    old = reverse("admin:opslog_operationsevent_changelist")
    answer = auditor.get(f"{old}?q=found&day={today}&kind=NOTE&owner_id=w1", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/ops-logs?")
    assert shown(answer) == [event.pk]
    yesterday = today - timedelta(days=1)
    assert shown(auditor.get(f"{old}?day={yesterday}", follow=True)) == []
    change = reverse("admin:opslog_operationsevent_change", args=[event.pk])
    assert auditor.get(change, follow=True).redirect_chain[-1][0] == f"/ops-logs/{event.pk}"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("kinds=NOTE", "There is no filter called kinds."),
        ("since=yesterday", "Write a time like"),
        ("since=9999-12-31T23:59-23:59", "Write a time like"),
        ("before=3", "no place in the log"),
        ("last=2h", "Select a valid choice"),
        ("actor=a%07b", "Control characters"),
        ("text=" + "x" * 201, "at most 200 characters"),
    ],
)
def test_what_is_misspelt_shows_nothing(auditor: Client, query: str, message: str) -> None:
    record()
    answer = auditor.get(f"/ops-logs?{query}")
    assert message in answer.content.decode()
    assert shown(answer) == []
    assert auditor.get(f"/ops-logs/rows?{query}").status_code == 400
    assert auditor.post(f"/ops-logs/export?{query}", {"format": "csv"}).status_code == 400


def test_an_address_of_a_kind_that_is_not_there_is_kept(auditor: Client) -> None:
    page = auditor.get("/ops-logs?kind=NOT_YET").content.decode()
    assert '<option value="NOT_YET" selected>' in page
    assert "No event matches." in page


def test_older_pages_go_on(auditor: Client) -> None:
    made = [record("NOTE", str(number)).pk for number in range(60)]
    first = auditor.get("/ops-logs?kind=NOTE")
    assert shown(first) == made[:9:-1]
    more = first.context["more_query"]
    assert shown(auditor.get(f"/ops-logs?{more}")) == made[9::-1]
    assert "Newest events" in auditor.get(f"/ops-logs?{more}").content.decode()


def test_the_tail_asks_again_for_the_last_minute(auditor: Client) -> None:
    """An event that was written before another and committed after it is not missed."""
    late, seen = record("NOTE", "commits late"), record("NOTE", "was seen")
    newest = record("NOTE", "is new")
    query = f"/ops-logs/rows?kind=NOTE&after={Key.of(seen)}"
    assert shown(auditor.get(query)) == [newest.pk, seen.pk, late.pk]
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() + interval '2 minutes'")
        (later,) = cursor.fetchone()
    assert shown(auditor.get(f"/ops-logs/rows?after={Key(later, 1)}")) == []


@pytest.mark.parametrize(
    ("kind", "badge"),
    [
        ("WORK_ORDER_START", "calm"),
        ("WORK_ORDER_CAP_CHANGE", "good"),
        ("CAP_CHANGE_APPROVED", "good"),
        ("CAP_CHANGE_REFUSED", "warn"),
        ("TOKEN_REVOKED", "warn"),
        ("COST_REFUSED", "bad"),
        ("INCIDENT_DETECTED", "bad"),
        ("OF_ANOTHER_RELEASE", "calm"),
    ],
)
def test_the_badge_of_a_kind_has_its_level(auditor: Client, kind: str, badge: str) -> None:
    record(kind)
    page = auditor.get("/ops-logs", {"kind": kind}).content.decode()
    assert f'<span class="tg-badge tg-badge-{badge}">{kind}</span>' in page


def test_a_row_opens_to_its_record(auditor: Client) -> None:
    earlier = record("NOTE", "before it")
    event = record("LIMIT_CHANGE", "moved", changes={"amount": {"old": 50, "new": "60.00"}})
    later = record("NOTE", "after it")
    page = auditor.get(f"/ops-logs/{event.pk}?kind=LIMIT_CHANGE").content.decode()
    for phrase in ("Before and after", "<td>50</td>", "<strong>60.00</strong>"):
        assert phrase in page
    assert f"/ops-logs/{earlier.pk}?kind=LIMIT_CHANGE" in page
    assert f"/ops-logs/{later.pk}?kind=LIMIT_CHANGE" in page
    assert "Written by the same act" in page
    assert auditor.get("/ops-logs/99999999999999999999").status_code == 404
    assert auditor.get("/ops-logs/999999999").status_code == 404


def download(client: Client, form: str, query: str = "") -> str:
    answer = client.post(f"/ops-logs/export{query}", {"format": form})
    assert answer.status_code == 200
    return str(answer.getvalue().decode())


def test_a_file_has_the_filtered_set_and_leaves_an_event(auditor: Client) -> None:
    event = record("NOTE", "=1+1", say="é")
    record("OTHER_NOTE")
    rows = list(csv.DictReader(io.StringIO(download(auditor, "csv", "?kind=NOTE"))))
    assert [row["id"] for row in rows] == [str(event.pk)]
    assert rows[0]["message"] == "'=1+1"
    assert json.loads(rows[0]["meta"]) == {"say": "é"}
    (line,) = download(auditor, "jsonl", "?kind=NOTE").splitlines()
    assert json.loads(line)["message"] == "=1+1"
    recorded = OperationsEvent.objects.filter(kind="OPS_LOG_EXPORT")
    assert [(e.actor, e.meta["format"], e.meta["filters"]) for e in recorded] == [
        ("auditor", "jsonl", "kind=NOTE"),
        ("auditor", "csv", "kind=NOTE"),
    ]
    assert "OPS_LOG_EXPORT" in download(auditor, "csv")  # those before it


def test_one_export_at_a_time(auditor: Client) -> None:
    """A thread that answers admissions is not given away twice; it comes back whatever happens."""
    first = auditor.post("/ops-logs/export", {"format": "csv"})
    again = auditor.post("/ops-logs/export?kind=NOTE", {"format": "csv"})
    assert (again.status_code, again["Location"]) == (302, "/ops-logs?kind=NOTE")
    assert OperationsEvent.objects.filter(kind="OPS_LOG_EXPORT").count() == 1
    for close in vars(first)["_resource_closers"]:  # as the server does, though nobody read it
        close()
    assert download(auditor, "csv")
    assert not export._one_at_a_time.locked()


def test_a_view_is_kept_shared_and_removed(keeper: Client, auditor: Client) -> None:
    kept = keeper.post("/ops-logs/views?actor=ops&kind=refusals", {"name": "Mine"})
    assert kept["Location"] == "/ops-logs?kind=refusals&actor=ops"
    mine = SavedView.objects.get()
    assert (mine.query, mine.shared, mine.person_label) == (
        "kind=refusals&actor=ops",
        False,
        "keeper",
    )
    assert "Mine" not in auditor.get("/ops-logs").content.decode()
    keeper.post("/ops-logs/views", {"name": "All of it", "shared": "on"})
    page = auditor.get("/ops-logs").content.decode()
    assert "All of it" in page
    assert "remove</button>" not in page
    other = person("other", "finance")
    assert other.post(f"/ops-logs/views/{mine.pk}/remove").status_code == 404
    assert keeper.post(f"/ops-logs/views/{mine.pk}/remove").status_code == 302
    assert [view.name for view in SavedView.objects.all()] == ["All of it"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x07b"])
def test_a_view_has_a_name(keeper: Client, name: str) -> None:
    keeper.post("/ops-logs/views", {"name": name})
    assert not SavedView.objects.exists()


def test_a_name_is_kept_once(keeper: Client) -> None:
    for _ in range(2):
        answer = keeper.post("/ops-logs/views", {"name": "Mine"}, follow=True)
    assert "You keep a view of that name already." in answer.content.decode()
    assert SavedView.objects.count() == 1


def test_the_auditor_keeps_nothing_and_is_told_why(auditor: Client) -> None:
    assert auditor.post("/ops-logs/views", {"name": "Mine"}).status_code == 403
    page = auditor.get("/ops-logs").content.decode()
    assert "Your account reads and changes nothing" in page
    assert "Keep these filters" not in page


@pytest.mark.parametrize(
    "row",
    [{"person": "1", "name": " x"}, {"person": "", "name": "x"}, {"person": "1", "name": ""},
     {"person": "1", "name": "x", "query": "<script>"},
     {"person": "1", "name": "x", "query": "a" * 4001}],
)  # fmt: skip
def test_the_database_holds_it_too(db: None, row: dict[str, str]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        SavedView.objects.create(**row)
