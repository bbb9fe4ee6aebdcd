"""The one navigation: three groups named after the floors, and the people."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from budgets import accounts, approvals


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
    waiting = len(approvals.waiting_for(request.user))  # type: ignore[arg-type]  # logged in
    requests = _list(request, "budgets", "changerequest", "Cap change requests", "rule")
    for_me = _list(
        request, "budgets", "changerequest", "Needs your approval", "approval", "?whose=me"
    )
    if waiting:
        for_me |= {"badge": str(waiting), "badge_variant": "warning"}
    mine = request.GET.get("whose") == "me"
    changes = _list(request, "budgets", "accountchange", "Account changes", "how_to_reg")
    if to_confirm := len(accounts.waiting_for(request.user)):  # type: ignore[arg-type]  # logged in
        changes |= {"badge": str(to_confirm), "badge_variant": "warning"}
    requests["active"] = lambda r: r.path.startswith(requests["link"]) and not mine
    for_me["active"] = lambda r: r.path == requests["link"] and mine
    groups: list[tuple[str, list[dict[str, Any] | None]]] = [
        (
            "What may be spent",
            [
                {"title": "Overview", "icon": "monitoring", "link": reverse("admin:index")},
                {
                    "title": "Burn rate",
                    "icon": "local_fire_department",
                    "link": reverse("burn-rate-page"),
                },
                _page(request, "daily-report-page", "Daily report", "today"),
                requests,
                for_me if request.user.has_perm("budgets.decide_changerequest") else None,
                _list(request, "budgets", "grant", "Grants", "timer"),
                _list(request, "budgets", "budget", "Budgets and limits", "speed"),
                _list(request, "budgets", "killswitch", "Kill switch", "power_settings_new"),
                _list(request, "budgets", "circuitbreaker", "Circuit breaker", "electric_bolt"),
                _list(request, "budgets", "featurecontrol", "Feature controls", "toggle_on"),
                _list(
                    request, "budgets", "automaticmitigation", "Automatic mitigation", "autorenew"
                ),
                _list(request, "budgets", "alert", "Alerts", "notifications"),
                _list(request, "budgets", "alertrule", "Alert rules", "notification_important"),
                _list(request, "budgets", "preflightrule", "Pre-flight", "flight_takeoff"),
                _list(request, "budgets", "costrule", "Cost alerts", "price_check"),
                _list(request, "budgets", "approvalrule", "Approval rules", "checklist"),
                _list(request, "budgets", "hotspot", "Hotspots", "mode_heat"),
                _list(request, "budgets", "dimensionbudget", "Monthly budgets", "account_balance"),
                _list(request, "budgets", "monthlyreview", "Monthly reviews", "event_available"),
            ],
        ),
        (
            "What is being done",
            [
                _list(request, "workorders", "workorder", "Work orders", "work"),
                _list(request, "workorders", "run", "Runs", "play_circle"),
                _list(request, "budgets", "directspend", "Direct spend", "payments"),
                _list(request, "budgets", "costcorrection", "Cost corrections", "price_change"),
                _list(request, "workorders", "agent", "Agents", "smart_toy"),
                _list(request, "workorders", "servicetoken", "Service tokens", "key"),
            ],
        ),
        (
            "What happened",
            [
                _list(request, "opslog", "incident", "Incidents", "emergency_home"),
                {
                    "title": "Event history",
                    "icon": "history",
                    "link": reverse("ops-logs"),
                    "may": request.user.has_perm("opslog.view_operationsevent"),
                },
                {
                    "title": "Forecast",
                    "icon": "trending_up",
                    "link": reverse("forecast-page"),
                    "may": request.user.has_perm("opslog.view_inferencehour"),
                },
                _list(request, "opslog", "inferencehour", "Spend by hour", "stacked_bar_chart"),
                _list(request, "opslog", "inferenceevent", "Model calls", "neurology"),
                _list(request, "opslog", "changemarker", "Changes", "published_with_changes"),
                _list(request, "opslog", "seal", "Seals", "verified"),
                _list(request, "opslog", "outboxmessage", "Messages", "outgoing_mail"),
                _list(request, "opslog", "modelprice", "Model prices", "sell"),
            ],
        ),
        (
            "Help",
            [
                _page(request, "runbooks", "Runbooks", "menu_book"),
                _list(request, "budgets", "contact", "Contacts", "call"),
            ],
        ),
        (
            "People",
            [
                _list(request, "auth", "user", "Users", "person"),
                _list(request, "auth", "group", "Groups", "group"),
                changes,
            ],
        ),
    ]
    return [
        {"title": title, "items": [item for item in items if item and item.get("may", True)]}
        for title, items in groups
    ]


def _page(
    request: HttpRequest, name: str, title: str, icon: str, may: str = "budgets.view_budget"
) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse(name),
        "may": request.user.has_perm(may),
    }


def _list(
    request: HttpRequest, app: str, model: str, title: str, icon: str, query: str = ""
) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{app}_{model}_changelist") + query,
        "may": request.user.has_perm(f"{app}.view_{model}"),
    }
