from django.apps import AppConfig

from opslog.database import authority
from opslog.database.roles import append_only, changed_by_routines, kept, owned


class BudgetsConfig(AppConfig):
    name = "budgets"
    verbose_name = "What may be spent"
    routines = (
        "foundations.sql",
        "guardrails.sql",
        "names.sql",
        "alerts.sql",
        "breaker.sql",
        "settlement.sql",
        "refusals.sql",
        "start_refusals.sql",
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
        from budgets import checks, environment  # noqa: F401  (checks register on import)
        from budgets.accounts import links
        from budgets.controls import features
        from budgets.usage import today
        from budgets.writing import HOLD_COUNTERS
        from opslog.incidents import controls
        from opslog.outbox import delivery
        from workorders import governing

        controls.read_with(features.values_of)
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
