"""System checks of the settings: a wrong one is reported at every start, not at every request."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from budgets.environment import environment_problem
from config.environment import PROBLEMS, wrong_lines
from config.schedules import JOBS
from opslog.outbox.posting import understood

HINT = "README.md has a table of the settings. Nothing starts until it is right."
ENVIRONMENT_HINT = (
    "Set ENVIRONMENT to the database's, or give this process another database. A copy is made a "
    "database of its own with: manage.py stamp_environment NAME --reason WHY"
)
# A number stays with its setting for good: people silence checks, and search for them, by id.
IDS = {
    "RETRY_AFTER": "config.E001",
    "TRUSTED_PROXIES": "config.E002",
    "METRICS_NETWORKS": "config.E003",
    "CONFIRM_OVER_USD": "config.E004",
    "LEASE_SECONDS": "config.E005",
    "DATABASE_TIMEOUT": "config.E006",
    "LOG_LEVEL": "config.E007",
    "NOTIFY_URLS": "config.E008",
    "EMAIL_URL": "config.E009",
    "WEB_WORKERS": "config.E010",
    "WEB_THREADS": "config.E011",
    "JOB_WORKERS": "config.E012",
    "ENVIRONMENT": "config.E013",
    "LLM_BUDGET_DAILY_USD": "config.E014",
    "LLM_BUDGET_HARD_LIMIT_USD": "config.E015",
    "REDIS_URL": "config.E016",
    "SENTRY_DSN": "config.E017",
    "HEALTHCHECK_URL": "config.E018",
    "SEAL_KEY": "config.E020",
    "SEAL_WEBHOOK_URL": "config.E021",
    "EVENT_RETENTION_DAYS": "config.E022",
    "SESSION_MAX_HOURS": "config.E023",
    "SESSION_IDLE_MINUTES": "config.E024",
    "CONFIRM_MINUTES": "config.E025",
    "OIDC_ISSUER": "config.E026",
    "OIDC_GROUPS": "config.E027",
    "REFUSAL_EVENTS_PER_SECOND": "config.E028",
    "PAGE_WORKERS": "config.E029",
    "REQUEST_TIMEOUT": "config.E030",
    "CONNECTIONS_PER_ADDRESS": "config.E031",
    "LLM_BUDGET_HOUR_USD": "config.E036",
    "LLM_BUDGET_MINUTE_USD": "config.E037",
    "CONCURRENT_RUNS": "config.E038",
    "DEBUG": "config.E050",
    "HTTPS": "config.E051",
    "PGBOUNCER": "config.E052",
    "REQUIRE_MFA": "config.E053",
    "NOTIFY_PRIVATE_NETWORKS": "config.E054",
    "LOG_JSON": "config.E055",
    "LIFT_ESTIMATES": "config.E056",
    "EARLY_LOCK_RELEASE": "config.E057",
    "DEMO": "config.E058",
    "DEMO_TRAFFIC": "config.E059",
    "PORT": "config.E060",
    "HOST": "config.E061",
    "BASE_URL": "config.E062",
    "ALLOWED_HOSTS": "config.E063",
    "CSRF_TRUSTED_ORIGINS": "config.E064",
    "MFA_GROUPS": "config.E065",
    "DEFAULT_FROM_EMAIL": "config.E066",
    "DOOR_PORT": "config.E067",
}


@register()
def environment_is_that_of_the_database(**kwargs: Any) -> list[CheckMessage]:
    """Production's work is not done on a test's database, nor the other way round: no command and
    no job worker starts there."""
    problem = environment_problem()
    return [Error(problem, hint=ENVIRONMENT_HINT, id="config.E019")] if problem else []


@register(deploy=True)
def production_is_stamped_so(**kwargs: Any) -> list[CheckMessage]:
    """`development` is the default: it stays where nobody thought of it."""
    if settings.TOLLGATE_ENVIRONMENT != "development":
        return []
    return [
        Warning(
            "ENVIRONMENT is development, and so is what the database is stamped with.",
            hint="Set ENVIRONMENT=production before the first migration. Afterwards, stamp the "
            "database as well: manage.py stamp_environment production --reason WHY",
            id="config.W001",
        )
    ]


@register()
def jobs_can_be_run(**kwargs: Any) -> list[CheckMessage]:
    """A schedule whose job is gone would fail in the worker, where nobody looks."""
    found: list[CheckMessage] = []
    for task in sorted(JOBS):
        try:
            job = import_string(task)
        except ImportError:
            job = None
        if not callable(job):
            found.append(
                Error(
                    f"{task} is not a function that the job worker could run.",
                    hint="config/schedules.py names it.",
                    id="config.E068",
                )
            )
    # (A job that is not acknowledged within `retry` seconds is handed out once more.)
    queue: dict[str, Any] = settings.Q_CLUSTER
    if queue["timeout"] >= queue["retry"]:
        found.append(
            Error(
                "A job may run longer than the queue waits before it is handed out again.",
                hint="In Q_CLUSTER, `timeout` has to be less than `retry`.",
                id="config.E069",
            )
        )
    return found


class WrongSettings(Exception):
    """One line a setting."""


@register()
def settings_have_their_form(**kwargs: Any) -> list[CheckMessage]:
    lines = {name: problem.line for name, problem in PROBLEMS.items()}
    for place, url in enumerate(settings.TOLLGATE_NOTIFY_SECRET_URLS, start=1):
        if not understood(url):  # named by its place: it is a credential
            lines["NOTIFY_URLS"] = f"NOTIFY_URLS: apprise does not understand address {place}."
            break
    return [Error(line, hint=HINT, id=IDS[name]) for name, line in sorted(lines.items())]


def require_settings() -> None:
    """Raises WrongSettings. For what starts without Django's commands, which run all checks."""
    wrong = settings_have_their_form()
    if wrong:
        raise WrongSettings(wrong_lines(each.msg for each in wrong))
