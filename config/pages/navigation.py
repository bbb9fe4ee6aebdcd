"""The one navigation: three groups named after the floors, and the people."""

from collections.abc import Collection
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from budgets import accounts, approvals

LIST = "admin:{}_changelist"
# Title, icon and page of each entry, and the permission to open it; where there is none, the page
# is the list of a model.
ENTRIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "What may be spent": (
        ("Overview", "monitoring", "admin:index", ""),
        ("Burn rate", "local_fire_department", "burn-rate-page", ""),
        ("Daily report", "today", "daily-report-page", "budgets.view_budget"),
        ("Cap change requests", "rule", "budgets_changerequest"),
        (
            "Needs your approval",
            "approval",
            LIST.format("budgets_changerequest"),
            "budgets.decide_changerequest",
        ),
        ("Grants", "timer", "budgets_grant"),
        ("Budgets and limits", "speed", "budgets_budget"),
        ("Kill switch", "power_settings_new", "budgets_killswitch"),
        ("Circuit breaker", "electric_bolt", "budgets_circuitbreaker"),
        ("Feature controls", "toggle_on", "budgets_featurecontrol"),
        ("Automatic mitigation", "autorenew", "budgets_automaticmitigation"),
        ("Alerts", "notifications", "budgets_alert"),
        ("Alert rules", "notification_important", "budgets_alertrule"),
        ("Pre-flight", "flight_takeoff", "budgets_preflightrule"),
        ("Cost alerts", "price_check", "budgets_costrule"),
        ("Approval rules", "checklist", "budgets_approvalrule"),
        ("Hotspots", "mode_heat", "budgets_hotspot"),
        ("Monthly budgets", "account_balance", "budgets_dimensionbudget"),
        ("Monthly reviews", "event_available", "budgets_monthlyreview"),
    ),
    "What is being done": (
        ("Work orders", "work", "workorders_workorder"),
        ("Runs", "play_circle", "workorders_run"),
        ("Direct spend", "payments", "budgets_directspend"),
        ("Cost corrections", "price_change", "budgets_costcorrection"),
        ("Agents", "smart_toy", "workorders_agent"),
        ("Service tokens", "key", "workorders_servicetoken"),
    ),
    "What happened": (
        ("Incidents", "emergency_home", "opslog_incident"),
        ("Event history", "history", "ops-logs", "opslog.view_operationsevent"),
        ("Forecast", "trending_up", "forecast-page", "opslog.view_inferencehour"),
        ("Spend by hour", "stacked_bar_chart", "opslog_inferencehour"),
        ("Model calls", "neurology", "opslog_inferenceevent"),
        ("Changes", "published_with_changes", "opslog_changemarker"),
        ("Seals", "verified", "opslog_seal"),
        ("Messages", "outgoing_mail", "opslog_outboxmessage"),
        ("Model prices", "sell", "opslog_modelprice"),
    ),
    "Help": (
        ("Runbooks", "menu_book", "runbooks", "budgets.view_budget"),
        ("Contacts", "call", "budgets_contact"),
    ),
    "People": (
        ("Users", "person", "auth_user"),
        ("Groups", "group", "auth_group"),
        ("Account changes", "how_to_reg", "budgets_accountchange"),
    ),
}


def mark(request: HttpRequest) -> str:
    return static("tollgate/mark.svg")


def stylesheet(request: HttpRequest) -> str:
    return static("tollgate/tollgate.css")


def own_pages(request: HttpRequest) -> list[dict[str, str]]:
    """In the menu of whoever is signed in."""
    found = [
        {"title": "Two-factor authentication", "link": reverse("mfa_index")},
        {"title": "Sessions", "link": reverse("usersessions_list")},
    ]
    if request.user.has_perm("opslog.view_outboxmessage"):
        found.append({"title": "Notifications", "link": reverse("my-notifications")})
    if request.user.is_authenticated and request.user.has_usable_password():
        found.append({"title": "Password", "link": reverse("account_change_password")})
    return found


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The number of what waits for this person stands beside the entry that leads there."""
    user: Any = request.user
    mine = request.GET.get("whose") == "me"
    groups: list[dict[str, Any]] = [
        {"title": title, "items": [item for each in entries if (item := _item(user, *each))]}
        for title, entries in ENTRIES.items()
    ]
    items = {item["title"]: item for group in groups for item in group["items"]}
    if requests := items.get("Cap change requests"):
        requests["active"] = lambda r: r.path.startswith(requests["link"]) and not mine
    if for_me := items.get("Needs your approval"):
        path = for_me["link"]
        for_me |= {"link": f"{path}?whose=me", "active": lambda r: r.path == path and mine}
        for_me |= _badge(approvals.waiting_for(user))
    if changes := items.get("Account changes"):
        changes |= _badge(accounts.waiting_for(user))
    return groups


def _item(user: Any, title: str, icon: str, page: str, *permission: str) -> dict[str, Any]:
    """Empty where this person cannot open it."""
    if permission:
        (needed,) = permission
    else:
        app, _, model = page.partition("_")
        page, needed = LIST.format(page), f"{app}.view_{model}"
    if needed and not user.has_perm(needed):
        return {}
    return {"title": title, "icon": icon, "link": reverse(page)}


def _badge(waiting: Collection[object]) -> dict[str, str]:
    return {"badge": str(len(waiting)), "badge_variant": "warning"} if waiting else {}
