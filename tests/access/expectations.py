"""Who may do what at every address of the site.

A NEW ADDRESS NEEDS ONE LINE HERE, or `test_every_address.py` fails and names it:

- a page of the admin: its row in `tests/admin/permissions.py`, which is read here too;
- a page of people elsewhere: PAGES, by the name in the URL configuration (without a name: by its
  route), with the groups that may GET it and the groups that may POST to it;
- an address of the API: MACHINES, with the scopes that each method takes;
- an address for everybody: OPEN;
- a file to download, besides its line above: EXPORTS.

An argument of an address that is not in `arguments()` needs a line there.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from opslog.models import Mitigation
from tests.admin import permissions as admin_matrix
from tests.admin.scene import ROLES, Scene

ALL = frozenset(ROLES)
NONE: frozenset[str] = frozenset()
SCOPES = ("start", "read", "ingest", "killswitch", "request", "admin")
SCHEMA = frozenset({*SCOPES})


@dataclass(frozen=True)
class Page:
    """Groups; a person of no group may do nothing, a superuser read what all may."""

    get: frozenset[str] = NONE
    post: frozenset[str] = NONE


@dataclass(frozen=True)
class Machine:
    """Method → the scopes that are let in; `people`: groups that are, in a session (a superuser
    is let in or not). `body` is one that has the right shape: of some addresses the token is
    judged after it."""

    scopes: dict[str, frozenset[str]] = field(default_factory=dict)
    people: dict[str, frozenset[str]] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


def scopes(*names: str) -> frozenset[str]:
    return frozenset(names)


DECIDE, ASK, LIMIT = admin_matrix.DECIDE, admin_matrix.ASK, admin_matrix.LIMIT

PAGES = {
    "burn-rate-page": Page(get=ALL),
    "daily-report-page": Page(get=ALL),
    "daily-report-csv": Page(get=ALL),
    "forecast-page": Page(get=ALL),
    "incident-mitigation": Page(get=LIMIT, post=LIMIT),  # the one of the scene is a throttle
    "my-notifications": Page(get=ALL, post=ALL),  # their own
    "ops-dashboard": Page(get=ALL),
    "ops-dashboard-live": Page(get=ALL),
    "runbooks": Page(get=ALL),
    "runbook": Page(get=ALL),
    "ops-logs": Page(get=ALL),
    "ops-logs-rows": Page(get=ALL),
    "ops-logs-event": Page(get=ALL),
    "ops-logs-export": Page(post=ALL),  # it leaves an event, and changes nothing else
    "ops-logs-keep-view": Page(post=ALL - {"auditor"}),
    "ops-logs-remove-view": Page(post=ALL - {"auditor"}),
}
WHO = {"workOrderId": "w1", "agentName": "agent-1"}
MACHINES = {
    "cap-changes": Machine(people={"GET": ALL}),
    "cap-change": Machine(people={"GET": ALL}),
    "cap-change-decision": Machine(people={"POST": DECIDE}),
    "cap-change-cancel": Machine(people={"POST": NONE}),  # whoever asked, who is none of these
    "cap-change-edit": Machine(people={"POST": ASK}),
    "work-order-cap-changes": Machine({"POST": scopes("request")}),
    "work-order-usage": Machine({"GET": scopes("read")}),
    "preflight": Machine(
        {"POST": scopes("start")},
        body={"tasks": [{"workOrderId": "w1", "name": "x", "estimatedCostUsd": "0.01"}]},
    ),
    "killswitch": Machine(
        {"GET": scopes("read", "killswitch", "admin"), "POST": scopes("killswitch", "admin")},
        people={"GET": ALL, "POST": ALL - {"auditor", "finance"}},
        body={"scope": "Identity", "target": "user:x", "enabled": True, "reason": "x"},
    ),
    "feature": Machine({"GET": scopes("start", "read", "admin")}),
    "burn-rate": Machine({"GET": scopes("read")}),
    "work-order-start": Machine({"POST": scopes("start")}, body={**WHO, "dryRun": True}),
    "run-finish": Machine(
        {"POST": scopes("start", "admin")}, body={"status": "success", "costUsd": "0.01"}
    ),
    "run-extend": Machine({"POST": scopes("start", "admin")}, body={"leaseSeconds": 60}),
    "llm-budget": Machine({"GET": scopes("admin")}),
    "llm-check": Machine({"POST": scopes("start")}, body={"estimatedCostUsd": "0.01"}),
    "llm-spend": Machine({"POST": scopes("start")}, body={"costUsd": "0.01"}),
    "work-orders": Machine(
        {"GET": scopes("read"), "POST": scopes("admin")}, body={"title": "Another"}
    ),
    "work-order": Machine({"GET": scopes("read")}),
    "work-order-runs": Machine({"GET": scopes("read")}),
    "operations-events": Machine({"GET": scopes("read")}),
    "inference-events": Machine({"POST": scopes("ingest")}, body={"model": "m"}),
    "tool-calls": Machine({"POST": scopes("ingest")}, body={"toolName": "search"}),
    "otlp-traces": Machine({"POST": scopes("ingest")}, body={"resourceSpans": []}),
    "litellm-callback": Machine({"POST": scopes("ingest")}, body={"id": "x", "model": "m"}),
    "changes": Machine(
        {"GET": scopes("read"), "POST": scopes("ingest")}, body={"kind": "deploy", "what": "x"}
    ),
    "forecast": Machine({"GET": scopes("read")}),
    "incidents": Machine({"GET": scopes("read")}),
    "incident": Machine({"GET": scopes("read")}),
}
# Files, for the test of payloads: how to get one, and the extension that says how to read it.
EXPORTS: dict[str, list[tuple[str, dict[str, str], str]]] = {
    "ops-logs-export": [("POST", {"format": "csv"}, "csv"), ("POST", {"format": "jsonl"}, "jsonl")],
    "daily-report-csv": [("GET", {}, "csv")],
}
# For everybody, and they tell nothing of anybody. `metrics` is open to its networks.
OPEN = {"", "favicon.ico", "healthz", "readyz", "metrics", "schema", "docs"}
# A person's own account: whoever is signed in, be it of no group; nobody else is let in. Each shows
# and changes what is the person's alone. `tests/sign_in/` tests what they do.
ACCOUNT = {
    "account_change_password",
    "account_confirm_by_sso",
    "account_confirmed_by_sso",
    "account_reauthenticate",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_deactivate_totp",
    "mfa_edit_webauthn",
    "mfa_generate_recovery_codes",
    "mfa_index",
    "mfa_list_webauthn",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "mfa_view_recovery_codes",
    "usersessions_list",
}
# The way in and out, for everybody.
DOOR = {
    "account-link",  # each answers that its link does not work
    "account_inactive",
    "account_login",
    "account_logout",
    "mfa_authenticate",
    "mfa_login_webauthn",
    "openid_connect_callback",
    "single_sign_on",
    "socialaccount_login_cancelled",
}
# The admin's own: each shows a person what they may see; who is nobody is sent to the login.
ADMINS_OWN = {f"admin:{name}" for name in admin_matrix.FOR_EVERYBODY} | {"admin/(?P<url>.*)$"}


def admin_pages() -> dict[str, Page]:
    """What the matrix of the admin says, in the words of this one. A POST to a list shows it."""
    found = {}
    for name, readers in admin_matrix.expected().items():
        model, _, last = name.rpartition("_")
        post = NONE if name in admin_matrix.GET_ONLY else readers
        if last == "change" and model in admin_matrix.READ:
            post = admin_matrix.CHANGE.get(model, NONE)
        found[f"admin:{name}"] = Page(readers, post)
    for name, may in admin_matrix.POST_ONLY.items():
        found[f"admin:{name}"] = Page(NONE, may)
    return found


@cache
def pages() -> dict[str, Page]:
    return {**PAGES, **admin_pages()}


def throttle(scene: Scene) -> int:
    """A proposal of the incident that changes a feature's limits."""
    proposed = Mitigation.objects.filter(incident_id=scene.ids["opslog_incident"])
    levers = (Mitigation.Lever.KILL_SWITCH, Mitigation.Lever.LOWER_CAP)
    found = proposed.filter(state=Mitigation.State.PROPOSED).exclude(lever__in=levers).first()
    assert found is not None
    return found.pk


def arguments(scene: Scene, name: str, wanted: set[str]) -> dict[str, Any]:
    """A value for each argument of an address, of something that is there."""
    if name.startswith("admin:") and wanted & {"object_id", "id"}:
        models = [each for each in scene.ids if name.startswith(f"admin:{each}_")]
        if models:
            return dict.fromkeys(wanted, scene.ids[models[0]])
    known = {
        "wo_id": scene.work_order.pk,
        "run_id": str(scene.run.pk),
        "change_id": scene.request.pk,
        "event_id": scene.event.pk,
        "feature": "summaries",
        "view_id": 1,
        "incident_id": scene.ids["opslog_incident"],
        "mitigation_id": throttle(scene),
        "pk": 1,
        "slug": "cost-spike",
        "app_label": "budgets",
        "url": "no-such-page",
        "content_type_id": 1,
        "uidb64": "MQ",
        "token": "d0-0",
        "object_id": 1,
    }
    return {each: known[each] for each in wanted}
