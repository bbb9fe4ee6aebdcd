"""An id that is a word of the API's addresses would hide its work order behind them."""

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from tests.trail import meta_of, trail
from workorders import directory
from workorders.exceptions import ReservedId
from workorders.models import RESERVED_IDS, WorkOrder

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("word", RESERVED_IDS)
def test_it_is_not_registered(word: str) -> None:
    with pytest.raises(ReservedId, match=word):
        directory.register(title="T", by="test", wo_id=word)


@pytest.mark.parametrize("word", RESERVED_IDS)
def test_the_table_refuses_it(word: str) -> None:
    refusal = pytest.raises(IntegrityError, match="work_orders_id_not_reserved")
    with refusal, transaction.atomic():
        WorkOrder.objects.create(id=word, title="T")


@pytest.mark.parametrize("word", ["Start", "runs-2", "preflights"])
def test_others_are_free(word: str) -> None:
    assert directory.register(title="T", by="test", wo_id=word).id == word
    assert trail("WORK_ORDER_CREATED") == [("WORK_ORDER_CREATED", f"work_order {word}", "test")]
    assert meta_of("WORK_ORDER_CREATED") == {"woId": word, "maxConcurrentRuns": 2}


def test_the_form_says_so() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    data = {"title": "T", "id": "runs", "max_concurrent_runs": "2"}
    page = client.post(
        reverse("admin:workorders_workorder_add"), data, headers={"host": "localhost"}
    )
    assert page.status_code == 200
    assert "runs is a word of the API" in page.content.decode()
    assert not WorkOrder.objects.exists()
