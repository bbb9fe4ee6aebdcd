"""How many queries a page may need: every page of the site, so that a new one is counted, too."""

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.access import expectations, walking
from tests.admin.scene import make_scene

# Session, person and permissions are five of them; the navigation's numbers five.
MOST = 28
# What is made of several floors asks for more; by how much is a decision, so it stands here.
MORE = {
    "admin:index": 55,
    "ops-dashboard": 55,
    "ops-dashboard-live": 46,
    "admin:budgets_changerequest_change": 31,
    "admin:workorders_workorder_change": 31,
}


def test_no_page_asks_more_than_it_may(db: None) -> None:
    scene = make_scene()
    client = walking.logged_in(scene.people["root"])
    over = {}
    for address in walking.addresses():
        if address.name not in expectations.pages() and address.name != "admin:index":
            continue
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(address.path(scene))
            if answer.streaming:
                answer.getvalue()
        if len(asked) > MORE.get(address.name, MOST):
            over[address.name] = len(asked)
    assert over == {}
