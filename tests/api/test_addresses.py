"""Whose address counts: `X-Forwarded-For` is believed of trusted proxies only."""

from collections.abc import Iterator

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import DjangoDbBlocker, Settings

from config.middleware import ForwardedProtoMiddleware
from opslog.api.client_address import client_address
from tests import factories
from tests.api.harness import WORK_ORDER, Api, api_service


@pytest.fixture(scope="module")
def behind(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """A service that trusts the proxy on this machine and one in 10/8."""
    env = {"TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8,2001:db8:ffff::/48"}
    with api_service(pristine_database, django_db_blocker, env=env) as running:
        yield running


@pytest.mark.parametrize(
    ("remote", "forwarded", "seen"),
    [
        ("203.0.113.9", "192.0.2.1", "203.0.113.9"),  # nobody vouches for the header
        ("203.0.113.9", "", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),  # the proxy itself
        ("10.0.0.1", "", ""),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),  # the client wrote the first
        ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.2.3.4", "192.0.2.1"),
        ("10.0.0.1", "10.9.9.9, 10.2.3.4", "10.9.9.9"),
        # What cannot be read is nobody, and above all not the proxy.
        ("10.0.0.1", "192.0.2.1, unknown", ""),
        ("10.0.0.1", "192.0.2.1, unknown, 10.2.3.4", ""),
        ("10.0.0.1", "'; DROP TABLE--", ""),
        ("10.0.0.1", "192.0.2.1,", ""),
        ("10.0.0.1", "192.0.2.1, , 10.2.3.4", ""),
        ("10.0.0.1", "192.0.2.1:", ""),
        ("10.0.0.1", "192.0.2.1:123456", ""),
        ("10.0.0.1", "192.0.2.1%eth0", ""),
        ("10.0.0.1", "[192.0.2.1]", ""),
        ("10.0.0.1", "[2001:db8::7", ""),
        ("10.0.0.1", "for=192.0.2.1", ""),
        ("10.0.0.1", "3221225985", ""),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "2001:DB8:0::0007", "2001:db8::7"),
        ("2001:db8:ffff::1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:203.0.113.9", "192.0.2.1", "203.0.113.9"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),  # PostgreSQL's inet has no zones
        ("10.0.0.1", "[fe80::1%eth0]:443", "fe80::1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1:80, 10.2.3.4:5678, [2001:db8:ffff::2]:1", "192.0.2.1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_address(settings: Settings, remote: str, forwarded: str | None, seen: str) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "2001:db8:ffff::/48"]
    request = RequestFactory().get("/", REMOTE_ADDR=remote)
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_address(request) == seen


def test_nobody_is_trusted_by_default(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = []
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1")
    assert client_address(request) == "10.0.0.1"


def test_networks_of_tokens_and_addresses_of_runs(
    behind: Api, django_db_blocker: DjangoDbBlocker
) -> None:
    with factories.inside(behind.service.database, django_db_blocker):
        _, text = factories.make_token(
            ["start", "read"], networks=["192.0.2.0/24", "2001:db8:1::/64"]
        )
    ask = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}
    with behind.client(None) as http:
        for forwarded, source in (
            ("192.0.2.77", "192.0.2.77"),
            ("::ffff:192.0.2.78", "192.0.2.78"),
            ("6.6.6.6, 192.0.2.79, 10.1.1.1", "192.0.2.79"),
            ("2001:db8:1::5", "2001:db8:1::5"),
        ):
            headers = {"X-Api-Key": text, "X-Forwarded-For": forwarded}
            answer = http.post("/api/work-orders/start", json=ask, headers=headers)
            assert answer.status_code == 201, (forwarded, answer.text)
            run_id = answer.json()["runId"]
            rows = behind.sql("SELECT host(source_ip) FROM work_order_runs WHERE id = %s", run_id)
            assert rows == [(source,)]
            assert http.get("/api/work-orders", headers=headers).status_code == 200
        for forwarded in ("", "6.6.6.6", "192.0.2.1, 6.6.6.6", "192.0.2.1, x", "fe80::1%eth0"):
            headers = {"X-Api-Key": text, "X-Forwarded-For": forwarded}
            for answer in (
                http.post("/api/work-orders/start", json=ask, headers=headers),
                http.get("/api/work-orders", headers=headers),
            ):
                outcomes = (answer.status_code, answer.headers["Tollgate-Denial"])
                assert outcomes == (403, "token"), forwarded
        # Where no network is asked for, odd addresses stop nobody.
        headers = {"X-Api-Key": behind.tokens["all"], "X-Forwarded-For": "fe80::1%eth0"}
        assert http.post("/api/work-orders/start", json=ask, headers=headers).status_code == 201
    assert behind.errors() == []


def test_metrics_are_not_opened_by_an_address_that_cannot_be_read(behind: Api) -> None:
    """The proxy is on this machine, whose address may read them; its clients are not."""
    with behind.client(None) as http:
        assert http.get("/metrics").status_code == 200
        for forwarded in (
            "6.6.6.6",
            "6.6.6.6:5678",
            "[2001:db8::1]:443",
            "unknown",
            "",
            "127.0.0.1,",
        ):
            answer = http.get("/metrics", headers={"X-Forwarded-For": forwarded})
            assert answer.status_code == 401, forwarded
    assert behind.errors() == []


@pytest.mark.parametrize(
    ("remote", "given", "secure"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "http", False),
        ("10.0.0.1", "http, https", True),
        ("10.0.0.1", "https, http", False),  # the client wrote the first
        ("10.0.0.1", "", False),
        ("203.0.113.9", "https", False),  # nobody vouches for it
        ("", "https", False),
    ],
)
def test_whose_word_on_https_counts(
    settings: Settings, remote: str, given: str, secure: bool
) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    request = RequestFactory().get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_PROTO=given)
    seen = []

    def view(asked: HttpRequest) -> HttpResponse:
        seen.append(asked.is_secure())
        return HttpResponse()

    ForwardedProtoMiddleware(view)(request)
    assert seen == [secure]
