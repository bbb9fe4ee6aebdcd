"""Probes ask by address: whatever the Host header says, they are answered; nothing else is."""

import json
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule

from opslog.models import Heartbeat
from tests.waiting import wait_until

HOSTS = ["10.1.2.3:8000", "not-allowed.example", "", "a_b", "[::1", "x" * 300]
PROBES = ["/healthz", "/readyz", "/metrics"]


@pytest.mark.django_db
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", PROBES)
def test_probes_answer_to_any_host(path: str, host: str, settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["tollgate.example"]
    answer = Client().get(path, headers={"host": host})
    assert answer.status_code == 503 if path == "/readyz" else 200
    if path == "/readyz":
        assert set(json.loads(answer.content)) == {
            "database",
            "migrations",
            "environment",
            "routines",
            "worker",
        }
    assert answer.headers["X-Request-ID"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/account/login/",
        "/api/docs",
        "/healthz/",
        "/healthz/x",
        "/Healthz",
        "//healthz",
        "/metricsx",
    ],
)
def test_no_other_address_does(path: str, settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["tollgate.example"]
    assert Client().get(path, headers={"host": "10.1.2.3"}).status_code == 400


@pytest.mark.parametrize("path", PROBES)
def test_they_are_only_read(path: str, settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["tollgate.example"]
    assert Client().post(path, headers={"host": "10.1.2.3"}).status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
def test_nor_do_they_redirect_to_https(path: str, settings: LazySettings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["tollgate.example"]
    assert Client().get(path, headers={"host": "10.1.2.3"}).status_code in (200, 503)


@pytest.mark.django_db
def test_metrics_are_still_for_their_networks(settings: LazySettings) -> None:
    settings.METRICS_NETWORKS = ["192.0.2.0/24"]
    assert Client().get("/metrics", headers={"host": "192.0.2.1"}).status_code == 401


def test_a_job_that_was_put_off_is_named(committed_db: str) -> None:
    """The heartbeat is the cluster's own and goes on; that no lease ends would not show in it."""
    Heartbeat.objects.create(name="worker", at=timezone.now())
    assert Client().get("/readyz").status_code == 200
    late = Now() + timedelta(hours=1)
    Schedule.objects.filter(name="expire leases").update(next_run=late)

    def reason() -> str:
        worker = json.loads(Client().get("/readyz").content)["worker"]
        return str(worker.get("reason", ""))

    wait_until(lambda: "expire leases" in reason())
