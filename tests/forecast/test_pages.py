"""The forecast as it is read: page, API, and the rows behind the figures."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker

from opslog.models import InferenceHour
from opslog.telemetry import change_markers, spend_hours
from tests import factories
from tests.api.harness import Api

D = Decimal
HOUR = timedelta(hours=1)


def make_hour(hour: datetime, usd: str, **columns: object) -> InferenceHour:
    values: dict[str, object] = {
        "feature": "chat",
        "model": "gpt-4o-mini",
        "trigger_type": "user_request",
        "requests": 10,
        "failed": 0,
        "unpriced": 0,
        "users": 1,
        "input_tokens": 1,
        "cached_input_tokens": 0,
        "output_tokens": 1,
        "reasoning_tokens": 0,
        "input_buckets": [],
        "output_buckets": [],
        "input_squares": 0,
        "output_squares": 0,
        "cost_squares": 0,
        **columns,
    }
    return InferenceHour.objects.create(hour=hour, cost_usd=D(usd), **values)


def make_history(days: int = 16) -> datetime:
    """Two models, two features; a runaway hour yesterday. Gives the start of the current hour."""
    now = spend_hours.hour_of(timezone.now())
    for ago in range(1, days * 24):
        hour = now - HOUR * ago
        make_hour(hour, "0.10")
        if ago % 2:
            make_hour(hour, "0.30", feature="draw", model="big", trigger_type="undo")
    InferenceHour.objects.filter(hour=now - 30 * HOUR, model="gpt-4o-mini").update(cost_usd=D(3))
    make_hour(now, "9.99")  # not over yet: not counted
    return now


def log_in(*permissions: str) -> Client:
    user = factories.make_user("reader", is_staff=True)
    for permission in permissions:
        user.user_permissions.add(Permission.objects.get(codename=permission))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.django_db
def test_spend_of_all_and_of_one_model() -> None:
    now = make_history()
    spend = spend_hours.spend()
    assert spend.series.ends == now
    assert sum(spend.series.hours[-2:]) == D("0.50")
    assert {each.name: each.day_usd for each in spend.models} == {
        "big": D("3.60"),
        "gpt-4o-mini": D("2.40"),
    }
    assert {each.name for each in spend.triggers} == {"user_request", "undo"}
    assert {(each.model, each.found.first) for each in spend.unusual} == {
        ("gpt-4o-mini", now - 30 * HOUR),
        ("", now - 30 * HOUR),
    }
    of_one = spend_hours.spend(model="big")
    assert sum(of_one.series.hours[-2:]) == D("0.30")
    assert of_one.models == spend.models


@pytest.mark.django_db
def test_queries_do_not_grow_with_models(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    now = spend_hours.hour_of(timezone.now())
    for number in range(30):
        make_hour(now - HOUR, "1", model=f"m-{number}")
    with django_assert_max_num_queries(7):
        spend_hours.spend()


@pytest.mark.django_db
def test_the_page_leads_to_its_rows_and_draws_changes() -> None:
    now = make_history()
    change_markers.record_change(
        kind="deploy", what="chat <2.0>", by="ada", now=now, happened_at=now - 20 * HOUR
    )
    client = log_in("view_inferencehour")
    page = client.get(reverse("forecast-page"))
    text = page.content.decode()
    assert page.status_code == 200
    assert "deploy: chat &lt;2.0&gt;" in text
    assert "WAPE" in text
    assert "(forecast)" in text or now.hour == 23
    rows = f"{reverse('admin:opslog_inferencehour_changelist')}?model=big"
    assert rows in text
    listed = client.get(rows).content.decode()
    assert "undo" in listed
    assert "user_request" not in listed


@pytest.mark.parametrize(
    ("usd", "requests", "unpriced", "each"),
    [
        ("10", 100, 0, "0.1"),
        # $10 of the 50 calls whose cost is known
        ("10", 100, 50, "0.2"),
        ("0", 4, 4, None),
        ("0", 4, 0, "0"),
    ],
)
def test_a_call_costs_what_those_of_known_cost_do(
    usd: str, requests: int, unpriced: int, each: str | None
) -> None:
    category = spend_hours.Category("chat", D(0), D(0), D(usd), requests, unpriced)
    assert category.per_request_usd == (None if each is None else D(each))


@pytest.mark.django_db
def test_with_nothing_and_with_little() -> None:
    client = log_in("view_inferencehour")
    assert "Nothing was reported" in client.get(reverse("forecast-page")).content.decode()
    make_hour(spend_hours.hour_of(timezone.now()) - HOUR, "1", unpriced=3)
    text = client.get(reverse("forecast-page")).content.decode()
    assert "history is too short" in text
    assert "3 calls of the last seven days reported no cost" in strip_tags(text)
    nothing = client.get(reverse("forecast-page"), {"model": "<b>"}).content.decode()
    assert "Nothing was reported for this model" in nothing


@pytest.mark.django_db
def test_calls_without_a_price_are_told_of_however_many_models_cost_more() -> None:
    hour = spend_hours.hour_of(timezone.now()) - HOUR
    for number in range(spend_hours.MOST_CATEGORIES):
        make_hour(hour, "1", model=f"m-{number}")
    make_hour(hour, "0", model="unheard-of", unpriced=7)
    client = log_in("view_inferencehour")
    text = client.get(reverse("forecast-page")).content.decode()
    assert "7 calls of the last seven days reported no cost" in strip_tags(text)
    listed = client.get(reverse("admin:opslog_inferencehour_changelist")).content.decode()
    assert listed.count("7 of unknown cost") == 1


@pytest.mark.django_db
def test_for_who_may_read_only() -> None:
    assert log_in().get(reverse("forecast-page")).status_code == 403
    assert Client().get(reverse("forecast-page")).status_code == 302


@pytest.mark.django_db
def test_sums_are_changed_by_nobody() -> None:
    row = make_hour(datetime(2026, 1, 1, tzinfo=UTC), "1")
    client = Client()
    root = factories.make_user("root", is_staff=True, is_superuser=True)
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    for act in ("add", "delete"):
        args = [] if act == "add" else [row.pk]
        assert (
            client.get(reverse(f"admin:opslog_inferencehour_{act}", args=args)).status_code == 403
        )


def test_over_http(api: Api, django_db_blocker: DjangoDbBlocker) -> None:
    with api.client("read") as client:
        nothing = client.get("/api/forecast").json()
        with factories.inside(api.service.database, django_db_blocker):
            now = make_history()
        response = client.get("/api/forecast").json()
        one = client.get("/api/forecast", params={"model": "big"}).json()
        bad = [
            client.get("/api/forecast", params=query).status_code
            for query in ({"modle": "x"}, {"model": "x" * 201}, {"model": "a\x00"})
        ]
    assert (nothing["day"], nothing["hours"]) == (None, [])
    assert response["at"] == f"{now:%Y-%m-%dT%H:%M:%SZ}"
    assert len(response["hours"]) == 168
    assert response["day"]["error"]["trials"] > 20
    assert [each["way"] for each in response["day"]["tried"] if each["naive"]]
    assert {each["model"] for each in response["unusual"]} == {"", "gpt-4o-mini"}
    assert D(one["day"]["spentUsd"]) < D(response["day"]["spentUsd"]) or now.hour < 2
    assert bad == [400, 400, 400]
    with api.client("ingest") as client:
        assert client.get("/api/forecast").status_code == 403
