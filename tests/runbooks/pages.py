"""Pages of runbooks, and the starts that they speak of."""

from django.test import Client
from django.urls import reverse

from opslog import events


def page(client: Client, slug: str, query: str = "") -> str:
    answer = client.get(reverse("runbook", args=[slug]) + query)
    assert answer.status_code == 200
    return answer.content.decode().replace("&amp;", "&")


def started(actor: str, agent: str, address: str, wo_id: str = "w1") -> None:
    meta = {"woId": wo_id, "agentName": agent, "sourceIp": address}
    owner = ("work_order", wo_id)
    events.record("WORK_ORDER_START", message="started", actor=actor, owner=owner, meta=meta)
