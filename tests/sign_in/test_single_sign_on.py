"""Single sign-on with a real provider of OpenID Connect, and a real server of ours."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import oidc_provider_mock
import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from pytest_django import DjangoDbBlocker

from budgets import accounts
from budgets.models import AccountChange
from config.environment import issuer_id
from config.run.scratch import ScratchService, scratch_service
from opslog.models import OperationsEvent
from tests import factories
from tests.sign_in.people import PASSWORD, person
from tests.waiting import HANG_SECONDS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the provider's
GROUPS = "acme-ops=operations,acme-money=finance,acme-audit=auditor,acme-admin=administrator"


@dataclass
class Site:
    service: ScratchService
    issuer: str
    blocker: DjangoDbBlocker

    def inside(self) -> Any:
        return factories.inside(self.service.database, self.blocker)

    def says(self, sub: str, groups: Any = (), **claims: Any) -> None:
        """What the provider tells of somebody from now on."""
        data = {"preferred_username": sub, "groups": list(groups), **claims}
        answer = httpx2.put(f"{self.issuer}/users/{quote(sub)}", json=data, timeout=HANG_SECONDS)
        assert answer.status_code == 204

    def browser(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.service.url, follow_redirects=False, timeout=HANG_SECONDS
        )

    def comes(self, sub: str, browser: httpx2.Client | None = None, path: str = "") -> Any:
        """Through the provider; gives the answer of our callback."""
        browser = browser or self.browser()
        away = browser.get(path or "/account/sso/")
        assert away.status_code == 302, away.text
        back = httpx2.post(away.headers["Location"], data={"sub": sub}, timeout=HANG_SECONDS)
        return browser.get(back.headers["Location"])

    def comes_confirmed(self, sub: str, browser: httpx2.Client | None = None) -> Any:
        """Once an administrator has confirmed the groups that the provider proposed."""
        answer = self.comes(sub, browser)
        with self.inside():
            waiting = list(AccountChange.objects.filter(status="pending"))
            for change in waiting:
                accounts.confirm(change.pk, by=factories.make_user("boss", is_superuser=True))
        return self.comes(sub, browser) if waiting else answer

    def signed_in(self, sub: str) -> httpx2.Client:
        browser = self.browser()
        answer = self.comes_confirmed(sub, browser)
        assert answer.headers["Location"] == "/admin/", answer.headers
        assert browser.get("/admin/").status_code == 200
        return browser


@pytest.fixture(scope="module")
def site(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    with oidc_provider_mock.run_server_in_thread() as provider:
        issuer = f"http://localhost:{provider.server_port}"
        env = {
            "OIDC_ISSUER": issuer,
            "OIDC_CLIENT_ID": "tollgate",
            "OIDC_CLIENT_SECRET": "s3cret",
            "OIDC_GROUPS": GROUPS,
            "OIDC_NAME": "Acme",
        }
        with scratch_service(template=pristine_database, workers=1, env=env) as service:
            yield Site(service, issuer, django_db_blocker)


def groups_of(name: str) -> list[str]:
    return sorted(User.objects.get(username=name).groups.values_list("name", flat=True))


def test_a_person_comes_for_the_first_time(site: Site) -> None:
    site.says("ann", ["acme-ops", "unrelated"], email="ann@acme.example", email_verified=True)
    assert "Sign in with Acme" in site.browser().get("/account/login/").text
    site.signed_in("ann")
    with site.inside():
        ann = User.objects.get(username="ann")
        assert groups_of("ann") == ["operations"]
        assert (ann.is_staff, ann.is_superuser, ann.has_usable_password()) == (True, False, False)
        assert ann.email == "ann@acme.example"
        event = OperationsEvent.objects.get(kind="USER_CREATED", owner_label="ann")
        assert event.actor == "single sign-on"


def test_a_group_that_decides_waits_for_an_administrator(site: Site) -> None:
    site.says("abe", ["acme-ops", "acme-audit"])
    assert site.comes("abe").headers["Location"] == "/admin/"
    with site.inside():
        assert groups_of("abe") == ["auditor"]
        change = AccountChange.objects.get(person__username="abe")
        assert (change.status, change.wanted) == ("pending", {"groups": ["operations"]})
        assert change.proposed_by is None
    site.says("ada", ["acme-admin"])
    browser = site.browser()
    assert site.comes("ada", browser).headers["Location"] == "/account/login/"
    assert "An administrator must confirm" in browser.get("/account/login/").text
    assert browser.get("/admin/").status_code == 302


def test_it_asks_for_what_it_needs_and_protects_the_code(site: Site) -> None:
    asked = urlsplit(site.browser().get("/account/sso/").headers["Location"])
    query = parse_qs(asked.query)
    assert f"{asked.scheme}://{asked.netloc}" == site.issuer
    assert query["redirect_uri"] == [f"{site.service.url}/account/sso/callback/"]
    assert query["code_challenge_method"] == ["S256"]
    assert "openid" in query["scope"][0]
    assert query["state"]


def test_groups_follow_the_claim_and_leaving_takes_effect_at_once(site: Site) -> None:
    site.says("ben", ["acme-ops", "acme-money"])
    site.signed_in("ben")
    with site.inside():
        User.objects.get(username="ben").groups.add(  # not by single sign-on
            *factories.make_user("x", groups=["director"]).groups.all()
        )
    site.says("ben", ["acme-audit"])
    site.signed_in("ben")
    with site.inside():
        assert groups_of("ben") == ["auditor", "director"]
        events = OperationsEvent.objects.filter(
            kind="USER_CHANGED", owner_label="ben", actor="single sign-on"
        ).order_by("id")
        lost, joined = (event.meta["changes"]["groups"] for event in events)
        assert lost == {"old": ["director", "finance", "operations"], "new": ["director"]}
        assert joined == {"old": ["director"], "new": ["auditor", "director"]}


@pytest.mark.parametrize("groups", [[], ["unrelated"], ["operations"], "acme", [3, None]])
def test_without_a_group_nobody_comes_in(site: Site, groups: Any) -> None:
    sub = f"nobody-{len(json.dumps(groups))}"
    site.says(sub, [] if isinstance(groups, str) else groups)
    browser = site.browser()
    assert site.comes(sub, browser).headers["Location"] == "/account/login/"
    assert "any group that can use Tollgate" in browser.get("/account/login/").text
    assert browser.get("/admin/").status_code == 302
    with site.inside():
        assert not User.objects.filter(username=sub).exists()


def test_who_lost_every_group_is_out(site: Site) -> None:
    site.says("cat", ["acme-ops"])
    site.signed_in("cat")
    site.says("cat", [])
    assert site.comes("cat").headers["Location"] == "/account/login/"
    with site.inside():
        assert groups_of("cat") == []


@pytest.mark.parametrize("verified", [True, False])
def test_nobody_takes_over_an_account_by_its_address_or_name(site: Site, verified: bool) -> None:
    name = f"root-{verified}"
    with site.inside():
        person(name, email=f"{name}@acme.example", is_superuser=True)
    site.says(
        f"evil-{verified}",
        ["acme-audit"],
        preferred_username=name.upper(),
        email=f"{name}@acme.example",
        email_verified=verified,
    )
    assert site.comes(f"evil-{verified}").headers["Location"] == "/admin/"
    with site.inside():
        linked = SocialAccount.objects.get(uid=f"evil-{verified}").user
        assert linked.username == f"{name.upper()}-2"
        assert not linked.is_superuser
        assert not SocialAccount.objects.filter(user__username=name).exists()
        assert linked.email == (f"{name}@acme.example" if verified else "")


def test_the_same_subject_of_another_issuer_is_somebody_else(site: Site) -> None:
    with site.inside():
        theirs = person("dan", "operations")
        SocialAccount.objects.create(
            user=theirs, provider=issuer_id("https://other.example"), uid="dan"
        )
    site.says("dan", ["acme-audit"])
    site.signed_in("dan")
    with site.inside():
        assert groups_of("dan") == ["operations"]
        assert groups_of("dan-2") == ["auditor"]


def test_who_is_switched_off_stays_out(site: Site) -> None:
    site.says("fay", ["acme-ops"])
    site.signed_in("fay")
    with site.inside():
        User.objects.filter(username="fay").update(is_active=False)
    assert site.comes("fay").headers["Location"] == "/account/inactive/"


def test_a_callback_that_nobody_began_signs_nobody_in(site: Site) -> None:
    site.says("gil", ["acme-ops"])
    theirs = site.browser().get("/account/sso/")
    back = httpx2.post(
        theirs.headers["Location"], data={"sub": "gil"}, timeout=HANG_SECONDS
    ).headers["Location"]
    victim = site.browser()
    assert "Single sign-on failed" in victim.get(back).text
    assert victim.get("/admin/").status_code == 302


def test_canceling_signs_nobody_in(site: Site) -> None:
    browser = site.browser()
    away = browser.get("/account/sso/").headers["Location"]
    state = parse_qs(urlsplit(away).query)["state"][0]
    back = f"/account/sso/callback/?error=access_denied&state={state}"
    assert browser.get(back).headers["Location"] == "/account/sso/cancelled/"


@pytest.mark.parametrize("query", ["process=connect", "process=redirect", "action=reauthenticate"])
def test_the_way_to_the_provider_takes_no_orders(site: Site, query: str) -> None:
    """Above all it links no accounts: that would be a way to take one over."""
    with site.inside():
        person(f"hal-{query[:12]}", "operations")
    browser = site.browser()
    form = {"login": f"hal-{query[:12]}", "password": PASSWORD}
    browser.get("/account/login/")
    form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
    assert browser.post("/account/login/", data=form).status_code == 302
    site.says("eve", ["acme-audit"])
    site.comes("eve", browser, f"/account/sso/?{query}")
    with site.inside():
        assert not SocialAccount.objects.filter(user__username__startswith="hal").exists()


def test_it_leads_back_to_where_somebody_wanted_to_go_and_nowhere_else(site: Site) -> None:
    site.says("ida", ["acme-audit"])
    answer = site.comes("ida", path="/account/sso/?next=/ops-logs")
    assert answer.headers["Location"] == "/ops-logs"
    answer = site.comes("ida", path="/account/sso/?next=https://evil.example/")
    assert answer.headers["Location"] == "/admin/"


def test_who_has_no_password_confirms_at_the_provider(site: Site) -> None:
    site.says("jo", ["acme-admin"])
    browser = site.signed_in("jo")
    form = "/admin/workorders/servicetoken/add/"
    assert browser.get(form).headers["Location"] == f"/account/confirm/sso/?next={form}"
    away = browser.get(f"/account/confirm/sso/?next={form}").headers["Location"]
    query = parse_qs(urlsplit(away).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    back = httpx2.post(away, data={"sub": "jo"}, timeout=HANG_SECONDS).headers["Location"]
    done = browser.get(back).headers["Location"]
    assert browser.get(done).headers["Location"] == form
    assert browser.get(form).status_code == 200


def test_somebody_else_at_the_provider_confirms_nothing(site: Site) -> None:
    site.says("kim", ["acme-admin"])
    site.says("lou", ["acme-admin"])
    browser = site.signed_in("kim")
    site.comes("lou", browser, "/account/confirm/sso/")
    assert browser.get("/admin/workorders/servicetoken/add/").status_code == 302


@pytest.mark.parametrize(("methods", "path"), [(["pwd", "mfa"], "/admin/"), (["pwd"], "")])
def test_the_providers_word_for_a_second_factor(
    site: Site, pristine_database: str, methods: list[str], path: str
) -> None:
    """RFC 8176. Who was not asked for one there sets one up here."""
    env = {
        "OIDC_ISSUER": site.issuer,
        "OIDC_CLIENT_ID": "x",
        "OIDC_CLIENT_SECRET": "x",
        "OIDC_GROUPS": GROUPS,
        "REQUIRE_MFA": "1",
    }
    with scratch_service(template=pristine_database, workers=1, env=env) as service:
        strict = Site(service, site.issuer, site.blocker)
        strict.says("max", ["acme-ops"], amr=methods)
        browser = strict.browser()
        assert strict.comes_confirmed("max", browser).headers["Location"] == "/admin/"
        answer = browser.get("/admin/")
        assert (answer.status_code == 200) == bool(path)
        if not path:
            assert answer.headers["Location"] == "/account/factors/"


def test_an_issuer_that_is_not_there_is_a_page(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> None:
    env = {"OIDC_ISSUER": "http://127.0.0.1:1", "OIDC_CLIENT_ID": "x", "OIDC_GROUPS": GROUPS}
    with scratch_service(template=pristine_database, workers=1, env=env) as service:
        answer = httpx2.get(f"{service.url}/account/sso/", timeout=HANG_SECONDS)
        assert answer.status_code == 502
        assert "couldn’t be reached" in answer.text


def test_without_an_issuer_there_is_none(service: ScratchService) -> None:
    assert httpx2.get(f"{service.url}/account/sso/", timeout=HANG_SECONDS).status_code == 404
    assert (
        httpx2.get(f"{service.url}/account/sso/callback/", timeout=HANG_SECONDS).status_code == 404
    )
    assert (
        "or sign in with"
        not in httpx2.get(f"{service.url}/account/login/", timeout=HANG_SECONDS).text.lower()
    )
