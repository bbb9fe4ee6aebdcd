"""Who may open what in the admin: the matrix that the pages are compared with."""

from django.contrib.admin.utils import quote
from django.urls import reverse

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
CHANGE = {"opslog_modelprice": ADMIN, "workorders_agent": REGISTER, "auth_user": ADMIN}
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
