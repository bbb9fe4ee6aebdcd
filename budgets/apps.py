from django.apps import AppConfig

from opslog.database import authority
from opslog.database.roles import append_only, changed_by_routines, kept, owned

SUBJECTS = {
    "alert_rule": "budgets.alertrule",
    "approval_limit": "budgets.approvallimit",
    "bill_import": "budgets.billimport",
    "budget": "budgets.budget",
    "cap_change": "budgets.changerequest",
    "circuit_breaker": "budgets.circuitbreaker",
    "contact": "budgets.contact",
    "cost_correction": "budgets.costcorrection",
    "dimension_budget": "budgets.dimensionbudget",
    "direct_spend": "budgets.directspend",
    "feature": "budgets.featurecontrol",
    "hotspot": "budgets.hotspot",
    "kill_switch": "budgets.killswitch",
    "monthly_review": "budgets.monthlyreview",
    "service_mapping": "budgets.servicemapping",
}


class BudgetsConfig(AppConfig):
    name = "budgets"
    verbose_name = "What may be spent"
    routines = (
        "foundations.sql",
        "checks.sql",
        "guardrails.sql",
        "names.sql",
        "alerts.sql",
        "breaker.sql",
        "settlement.sql",
        "refusals.sql",
        "starts.sql",
        "admission.sql",
        "extension.sql",
        "spending.sql",
        "batch.sql",
        "batch_settlement.sql",
        "batch_spending.sql",
        "batch_starts.sql",
        "batch_set.sql",
        "history.sql",
        "corrections.sql",
        "recording.sql",
        "solo.sql",
        "reviews.sql",
        "approvals.sql",
    )

    def ready(self) -> None:
        from budgets import checks, environment, event_kinds  # noqa: F401  (checks register on import)
        from budgets.accounts import links
        from budgets.controls import features, permitting
        from budgets.usage import today
        from budgets.writing import HOLD_COUNTERS
        from opslog.events import registry
        from opslog.incidents import levers
        from opslog.outbox import delivery
        from opslog.pages import subjects
        from workorders import governing

        registry.register(*event_kinds.KINDS)
        levers.register(levers.Levers(features.values_of, permitting.may_apply))
        subjects.register(SUBJECTS)
        governing.register(today.caps_in_force)
        delivery.SECRET_LINKS[links.TOPIC] = links.path_for
        authority.probe_with(HOLD_COUNTERS)
        environment.watch_connections()
        append_only(
            "account_rules",
            "cap_changes",
            "change_votes",
            "former_names",
            "review_decisions",
            "review_signatures",
            "solo_operator_rules",
        )
        owned("solo_operator_rules")
        changed_by_routines("run_charges")
        kept("cap_grants", "change_requests", "monthly_reviews", "alerts", "direct_spend")
