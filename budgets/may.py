"""Who may open the acts that pages lead on to: so that nobody is sent to a refusal.

The permission stands at the act as well, where it is enforced; here it decides whether a link is
drawn. `tests/runbooks/test_links.py` follows every link as every role.
"""

from collections import defaultdict

from django.contrib.auth.models import Permission

NEEDS = {
    "budgets_billimport_add": "budgets.change_dimensionbudget",
    "budgets_budget_add": "budgets.add_budget",
    "budgets_budget_lower": "budgets.change_budget",
    "budgets_changerequest_add": "budgets.ask_changerequest",
    "budgets_circuitbreaker_trip": "budgets.switch_circuitbreaker",
    "budgets_contact_add": "budgets.add_contact",
    "budgets_featurecontrol_add": "budgets.add_featurecontrol",
    "budgets_featurecontrol_levers": "budgets.change_featurecontrol",
    "budgets_killswitch_add": "budgets.stop_everything",
    "budgets_servicemapping_add": "budgets.add_servicemapping",
    "workorders_workorder_resume": "workorders.suspend_workorder",
    "workorders_workorder_settings": "workorders.change_workorder",
    "workorders_workorder_suspend": "workorders.suspend_workorder",
}
IDENTITY = "scope=Identity"  # one identity may be stopped by more people than everything


def needed(name: str, query: str = "") -> str | None:
    """The permission of a page of the admin, by its name there; None: whoever reads may open it."""
    if name == "budgets_killswitch_add" and IDENTITY in query:
        return "budgets.stop_identity"
    return NEEDS.get(name)


def groups_that_may() -> dict[str, list[str]]:
    """Permission → the names of the groups that have it; in one query."""
    wanted = {*NEEDS.values(), "budgets.stop_identity"}
    rows = Permission.objects.filter(
        codename__in={each.partition(".")[2] for each in wanted}, group__isnull=False
    ).values_list("content_type__app_label", "codename", "group__name")
    found: dict[str, list[str]] = defaultdict(list)
    for app, codename, group in sorted(rows):
        found[f"{app}.{codename}"].append(group)
    return dict(found)
