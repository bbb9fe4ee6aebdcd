"""The pages of the admin as somebody of the scene sees and sends them."""

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from budgets.models import ChangeRequest
from tests import factories
from tests.admin.scene import Scene

ANSWERS = {"legitimate": "yes", "reasonable": "yes", "optimise": "unsure"}


def log_in(scene: Scene, role: str) -> Client:
    """Somebody who has just confirmed that it is them."""
    client = Client()
    client.force_login(scene.people[role], backend="django.contrib.auth.backends.ModelBackend")
    return factories.confirmed(client, scene.people[role])


def page(client: Client, name: str, *args: object, query: str = "") -> str:
    answer = client.get(reverse(f"admin:{name}", args=args) + query)
    assert answer.status_code == 200, name
    return answer.content.decode()


def queries(client: Client, url: str) -> list[str]:
    client.get(url)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in seen.captured_queries]


def decide(client: Client, request: ChangeRequest, **fields: object) -> str:
    url = reverse("admin:budgets_changerequest_decide", args=[request.pk])
    fields = {"decision": "approve", "comment": "seen", "seen_revision": 1, **ANSWERS, **fields}
    return client.post(url, fields, follow=True).content.decode()


def form(client: Client, work_order: str, **fields: object) -> str:
    url = f"{reverse('admin:budgets_changerequest_add')}?work_order={work_order}"
    fields = {
        "runs_per_day": 100,
        "usd_per_day": "2.00",
        "justification": "month end",
        "expected_cost_impact": "$5 a day",
        **fields,
    }
    return client.post(url, fields, follow=True).content.decode()
