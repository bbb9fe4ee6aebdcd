"""Who may open and do what: every address of the admin, for every role.

The addresses are read from the admin itself, so that a new page without a row here is a failure.
"""

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.urls import URLPattern, reverse

from tests import factories
from tests.admin.scene import ROLES, Scene

ALL = frozenset(ROLES)
NONE: frozenset[str] = frozenset()
ADMIN = frozenset({"administrator"})
ASK = ALL - {"auditor"}
DECIDE = frozenset({"operations", "director", "finance", "vp"})
SUSPEND = frozenset({"operations", "director", "vp", "administrator"})
REGISTER = frozenset({"operations", "administrator"})
LIMIT = frozenset({"operations", "director", "administrator"})

HANDLE = frozenset({"operations", "director", "vp", "administrator"})
HOTSPOTS = frozenset({"operations", "director", "administrator"})
BILLS = frozenset({"finance", "administrator"})
CORRECT = frozenset({"operations"})
MONTH = frozenset({"operations", "director", "finance", "vp"})

READ = {  # list, page, and the address of its history, which leads to the events
    "budgets_accountchange": ALL,
    "budgets_approvallimit": ALL,
    "budgets_approvalrule": ALL,
    "budgets_changerequest": ALL,
    "budgets_grant": ALL,
    "budgets_budget": ALL,
    "budgets_alert": ALL,
    "budgets_circuitbreaker": ALL,
    "budgets_costcorrection": ALL,
    "budgets_costrule": ALL,
    "budgets_directspend": ALL,
    "budgets_featurecontrol": ALL,
    "budgets_killswitch": ALL,
    "budgets_alertrule": ALL,
    "budgets_preflightrule": ALL,
    "budgets_automaticmitigation": ALL,
    "budgets_timedmitigation": ALL,
    "opslog_incident": ALL,
    "budgets_hotspot": ALL,
    "budgets_contact": ALL,
    "budgets_dimensionbudget": ALL,
    "budgets_servicemapping": ALL,
    "budgets_billimport": ALL,
    "budgets_monthlyreview": ALL,
    "opslog_changemarker": ALL,
    "opslog_costpreference": ALL,
    "opslog_inferenceevent": ALL,
    "opslog_inferencehour": ALL,
    "opslog_modelprice": ALL,
    "opslog_operationsevent": ALL,
    "opslog_messagepolicy": ALL,
    "opslog_outboxmessage": ALL,
    "opslog_seal": ALL,
    "opslog_unreadspan": ALL,
    "workorders_agent": ALL,
    "workorders_run": ALL,
    "workorders_servicetoken": ALL,
    "workorders_tokenpolicy": ALL,
    "workorders_workorder": ALL,
    "auth_group": ADMIN,
    "auth_user": ADMIN,
}
ADD = {
    "budgets_alertrule": REGISTER,
    "budgets_budget": LIMIT,
    "budgets_featurecontrol": LIMIT,
    "budgets_killswitch": SUSPEND,
    "budgets_changerequest": ASK,
    "budgets_costcorrection": CORRECT,
    "budgets_hotspot": HOTSPOTS,
    "budgets_contact": REGISTER,
    "budgets_servicemapping": BILLS,
    "budgets_billimport": BILLS,
    "opslog_changemarker": REGISTER,
    "opslog_modelprice": ADMIN,
    "workorders_agent": REGISTER,
    "workorders_servicetoken": ADMIN,
    "workorders_workorder": REGISTER,
    "auth_user": ADMIN,
}
CHANGE = {"opslog_modelprice": ADMIN, "workorders_agent": REGISTER, "auth_user": ADMIN}
ACTS = {
    "budgets_approvallimit_lower": LIMIT,
    "budgets_budget_lower": LIMIT,
    "budgets_budget_alerts": LIMIT,
    "budgets_killswitch_switch": SUSPEND,  # of an identity; the scene has no other
    "budgets_circuitbreaker_trip": SUSPEND,
    "budgets_circuitbreaker_reset": SUSPEND,
    "budgets_circuitbreaker_settings": ADMIN,
    "budgets_featurecontrol_switch": LIMIT,
    "budgets_featurecontrol_levers": LIMIT,
    "budgets_alertrule_change_rule": REGISTER,
    "budgets_preflightrule_change_rule": ADMIN,
    "budgets_costrule_change_rule": ADMIN,
    "opslog_costpreference_prefer": ADMIN,
    "budgets_costcorrection_confirm": CORRECT,
    "budgets_costcorrection_refuse": CORRECT,
    "workorders_workorder_suspend": SUSPEND,
    "workorders_workorder_resume": SUSPEND,
    "workorders_workorder_settings": REGISTER,
    "workorders_workorder_break_glass": frozenset({"operations", "director"}),
    "budgets_approvalrule_replace": ADMIN,
    "budgets_grant_end": frozenset({"operations"}),
    "budgets_grant_review": DECIDE,
    "workorders_servicetoken_revoke": SUSPEND,
    "workorders_servicetoken_rotate": ADMIN,
    "workorders_tokenpolicy_change_policy": ADMIN,
    **{
        f"opslog_incident_{act}": HANDLE
        for act in (
            "take",
            "severity",
            "cause",
            "note",
            "escalate",
            "dismiss",
            "stabilise",
        )
    },
    "opslog_incident_export": ALL,
    "budgets_hotspot_change_entry": HOTSPOTS,
    "budgets_hotspot_confirm": HOTSPOTS,
    "budgets_contact_change_contact": REGISTER,
    "budgets_dimensionbudget_change_budget": BILLS,
    "budgets_servicemapping_change_mapping": BILLS,
    "budgets_monthlyreview_decide": MONTH,
    "budgets_monthlyreview_figures": MONTH,
    "budgets_monthlyreview_sign": frozenset({"director", "finance", "vp"}),
    "budgets_automaticmitigation_settings": frozenset({"director", "administrator"}),
    "opslog_incident_review": frozenset({"operations", "director"}),
    "budgets_timedmitigation_end": LIMIT,
    "auth_user_link": ADMIN,
    "budgets_accountchange_confirm": ADMIN,
    "budgets_accountchange_refuse": ADMIN,
    "opslog_messagepolicy_change_policy": ADMIN,
    "opslog_outboxmessage_retry": ADMIN,
    "budgets_changerequest_edit": NONE,  # whoever asked, who is none of these
    "budgets_changerequest_set_aside": NONE,  # a program's alone
}
GET_ONLY = {"opslog_incident_export"}
POST_ONLY = {
    "budgets_changerequest_decide": DECIDE,
    "budgets_changerequest_decide_selected": DECIDE,
    "budgets_changerequest_withdraw": ASK,
    "opslog_incident_run_triage": LIMIT,
    "budgets_monthlyreview_open": MONTH,
    "budgets_monthlyreview_tick": MONTH,
}
FOR_EVERYBODY = {
    "index",
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "autocomplete",
    "jsi18n",
    "view_on_site",
    "app_list",
    "search",
}
TABLES = (
    "operations_events",
    "seals",
    "work_orders",
    "work_order_runs",
    "agents",
    "change_markers",
    "service_tokens",
    "change_requests",
    "change_votes",
    "cap_grants",
    "approval_rules",
    "approval_slots",
    "model_prices",
    "outbox_messages",
    "message_policy",
    "notification_preferences",
    "budgets",
    "kill_switches",
    "circuit_breakers",
    "feature_flags",
    "alerts",
    "preflight_rules",
    "direct_spend",
    "cost_corrections",
    "cost_rules",
    "incidents",
    "incident_entries",
    "incident_mitigations",
    "automatic_mitigations",
    "timed_mitigations",
    "hotspots",
    "contacts",
    "dimension_budgets",
    "service_mappings",
    "monthly_reviews",
    "review_checks",
    "review_decisions",
    "review_signatures",
    "alert_rules",
    "auth_user",
    "auth_user_groups",
    "memberships",
    "account_changes",
    "account_links",
    "former_names",
)


def names() -> Iterator[str]:
    def walk(patterns: list[object]) -> Iterator[str]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                if pattern.name:
                    yield pattern.name
            else:
                yield from walk(pattern.url_patterns)  # type: ignore[attr-defined]

    yield from walk(list(admin.site.urls[0]))


def expected() -> dict[str, frozenset[str]]:
    """Name of an address → who may GET it."""
    rows: dict[str, frozenset[str]] = dict(ACTS)
    for model, readers in READ.items():
        rows |= {f"{model}_changelist": readers, f"{model}_change": readers}
        rows[f"{model}_history"] = ALL  # leads to the events, which have their own check
        rows[f"{model}_add"] = ADD.get(model, NONE)
        rows[f"{model}_delete"] = NONE
    return rows


def address(scene: Scene, name: str) -> str:
    model, _, last = name.rpartition("_")
    if last in ("changelist", "add") or name == "opslog_incident_run_triage":
        return reverse(f"admin:{name}")
    if name in ("budgets_changerequest_decide_selected", "budgets_monthlyreview_open"):
        return reverse(f"admin:{name}")
    model = next(each for each in scene.ids if name.startswith(f"{each}_"))
    return reverse(f"admin:{name}", args=[quote(scene.ids[model])])


def log_in(scene: Scene, role: str) -> Client:
    """Somebody who has just confirmed that it is them."""
    client = Client()
    client.force_login(scene.people[role], backend="django.contrib.auth.backends.ModelBackend")
    return factories.confirmed(client, scene.people[role])


def state() -> list[str]:
    """Every row of every table that the admin could write."""
    found = []
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t")
            found.append(cursor.fetchone()[0])
    return found


def test_every_address_is_in_the_matrix() -> None:
    known = set(expected()) | set(POST_ONLY) | FOR_EVERYBODY
    assert set(names()) == known


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
def test_who_may_open_what(scene: Scene, role: str) -> None:
    client = log_in(scene, role)
    before = state()
    wrong = {}
    for name, allowed in expected().items():
        status = client.get(address(scene, name)).status_code
        right = (200, 302) if role in allowed or name.endswith("_history") else (403,)
        if status not in right:
            wrong[name] = status
    for name in POST_ONLY:
        if (status := client.get(address(scene, name)).status_code) != 405:
            wrong[name] = status
    assert wrong == {}
    assert state() == before, "reading wrote something"


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
def test_who_may_post_what(scene: Scene, role: str) -> None:
    """An empty POST: a form's errors where one may, a refusal where not; nothing is written."""
    client = log_in(scene, role)
    before = state()
    wrong = {}
    pages = {**expected(), **POST_ONLY}
    for name, allowed in pages.items():
        model, _, last = name.rpartition("_")
        if last in ("changelist", "history") or name in GET_ONLY:
            continue
        if model in READ and last == "change":
            if role in CHANGE.get(model, NONE):
                continue  # an agent whose box is not ticked is switched off: no empty form
            allowed = NONE  # noqa: PLW2901  (reading is not changing)
        status = client.post(address(scene, name), {}).status_code
        right = (200, 302, 409) if role in allowed else (403, 405)
        if status not in right:
            wrong[name] = status
    assert wrong == {}
    assert state() == before


@pytest.mark.parametrize("name", [f"{model}_delete" for model in READ])
def test_nobody_deletes(scene: Scene, name: str) -> None:
    client = log_in(scene, "root")
    assert client.post(address(scene, name), {"post": "yes"}).status_code == 403


def test_a_superuser_changes_no_ledger(scene: Scene) -> None:
    client = log_in(scene, "root")
    for model in set(READ) - set(CHANGE):
        assert client.post(address(scene, f"{model}_change"), {}).status_code in (403, 405), model


def test_strangers_are_sent_to_the_login(scene: Scene) -> None:
    for name in expected():
        answer = Client().get(address(scene, name))
        assert answer.status_code == 302, name
        assert "/admin/login/" in answer["Location"]


def test_an_administrator_cannot_raise_themself(scene: Scene) -> None:
    """Neither into another group, nor to a superuser, nor by a superuser's account."""
    client = log_in(scene, "administrator")
    me = scene.people["administrator"]
    every = [str(pk) for pk in me.groups.model.objects.values_list("pk", flat=True)]
    mine = {"username": me.username, "groups": every, "is_superuser": "on", "is_active": "on"}
    client.post(reverse("admin:auth_user_change", args=[me.pk]), mine)
    me.refresh_from_db()
    assert [group.name for group in me.groups.all()] == ["administrator"]
    assert not me.is_superuser
    root = reverse("admin:auth_user_link", args=[scene.people["root"].pk])
    assert client.post(root, {"sure": "yes"}).status_code == 403
