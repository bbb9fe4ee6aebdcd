"""Settings, from environment variables (the table in README.md documents each).

Without DATABASE_URL the connection comes from the data folder, where `make run` leaves the
addresses of the embedded PostgreSQL: so every `manage.py` command finds it by itself.
"""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from config import environment as forms
from config.environment import take
from config.logs import logging_config
from config.run.data_folder import DataFolder
from config.run.database_url import UnusableDatabase, require_postgres

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()

DATA = DataFolder.from_environment(BASE_DIR)
EMBEDDED = not env.str("DATABASE_URL", default="")

DEBUG = take("DEBUG", default="0", form=forms.boolean)
SECRET_KEY = env.str("SECRET_KEY", default="") or (DATA.secret_key() if EMBEDDED else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY must be set when DATABASE_URL is set.")

ALLOWED_HOSTS = take("ALLOWED_HOSTS", default="localhost,127.0.0.1,[::1]", form=forms.host_names)
CSRF_TRUSTED_ORIGINS = take("CSRF_TRUSTED_ORIGINS", default="", form=forms.origins)
TRUSTED_PROXIES = take("TRUSTED_PROXIES", default="", form=forms.networks)
METRICS_NETWORKS = take("METRICS_NETWORKS", default="127.0.0.0/8,::1/128", form=forms.networks)

HTTPS = take("HTTPS", default="0", form=forms.boolean)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
# The longest that a session lasts, and how long without a request (config.sign_in.middleware).
SESSION_COOKIE_AGE = take("SESSION_MAX_HOURS", default="12", form=forms.whole(1, 720)) * 3600
TOLLGATE_SESSION_IDLE = take("SESSION_IDLE_MINUTES", default="30", form=forms.whole(1, 1440)) * 60
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # not the one that puts a site of its own in the place of ours
    "unfold.contrib.filters",
    "config.apps.TollgateAdminConfig",
    # Before Django's own and the job queue: some of their commands are ours.
    "opslog",
    "workorders",
    "budgets",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "django_q",
]

MIDDLEWARE = [
    "config.middleware.RequestContextMiddleware",
    "config.middleware.WholeBodyMiddleware",
    "config.middleware.ForwardedProtoMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.ContentSecurityPolicyMiddleware",
    "config.middleware.NoStoreMiddleware",
    "config.middleware.ProbesMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.middleware.ProgramsMiddleware",  # what stands below is for people only
    "config.middleware.QueryStringMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.sign_in.middleware.SessionAgeMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "config.sign_in.middleware.SecondFactorMiddleware",
    "config.sign_in.middleware.ConfirmedMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.sign_in.context.frame",
            ],
        },
    },
]

# Two roles on one database: `default` is the application's (no superuser, no UPDATE, DELETE or
# TRUNCATE on the log), `owner` migrates: `manage.py migrate --database owner`.
PGBOUNCER = take("PGBOUNCER", default="0", form=forms.boolean)
APP_URL = env.str("DATABASE_URL", default="") or DATA.app_url()
OWNER_URL = env.str("TOLLGATE_OWNER_DATABASE_URL", default="") or (
    DATA.owner_url() if EMBEDDED else APP_URL
)


# In force in every session: sent when it begins, or, behind PgBouncer, set on the database by
# `migrate` (opslog.database.roles).
TOLLGATE_SESSION_SETTINGS = {
    "timezone": "UTC",
    "lock_timeout": "2s",
    "jit": "off",  # what is asked here is answered sooner than it could be compiled
    "client_min_messages": "warning",  # such as of a canceled wait for a standby
}


def database(url: str, variable: str) -> dict[str, Any]:
    try:
        require_postgres(url, variable)
    except UnusableDatabase as error:
        raise ImproperlyConfigured(str(error)) from None
    config: dict[str, Any] = env.db_url_config(url)
    config["ENGINE"] = "opslog.postgresql"
    config["CONN_MAX_AGE"] = None
    config["DISABLE_SERVER_SIDE_CURSORS"] = PGBOUNCER
    config.setdefault("OPTIONS", {}).update(
        {
            "connect_timeout": 2,
            "application_name": "tollgate",
            # Without a threshold psycopg prepares nothing, whatever the caller of execute says.
            "prepare_threshold": None if PGBOUNCER else 5,
        }
    )
    if not PGBOUNCER:  # which passes none of them on
        settings = (f"-c {name}={text}" for name, text in TOLLGATE_SESSION_SETTINGS.items())
        config["OPTIONS"]["options"] = " ".join(settings)
    return config


DATABASES = {
    "default": database(APP_URL, "DATABASE_URL"),
    "owner": database(OWNER_URL, "TOLLGATE_OWNER_DATABASE_URL"),
}
DATABASES["default"]["TEST"] = {"MIRROR": "owner"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# People sign in at one place (config.sign_in). Tries are counted by opslog.sign_in, in the
# database: the limits of allauth would need a cache that all processes share.
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "config.sign_in.passwords.BreachedPasswordValidator"},
    {"NAME": "budgets.accounts.passwords.RecordChanges"},  # validates nothing: see there
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "admin:index"
ACCOUNT_ADAPTER = "config.sign_in.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]  # for allauth's own checks: nobody signs up
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_FORMS = {"change_password": "config.sign_in.forms.NewPasswordForm"}
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_REAUTHENTICATION_METHODS = {"password", "mfa", "socialaccount"}
ACCOUNT_REAUTHENTICATION_TIMEOUT = 60 * take(
    "CONFIRM_MINUTES", default="5", form=forms.whole(1, 60)
)
TOLLGATE_REQUIRE_MFA = take("REQUIRE_MFA", default="0", form=forms.boolean)
TOLLGATE_MFA_GROUPS = take(
    "MFA_GROUPS",
    default="operations,director,finance,vp,administrator",
    form=forms.group_names,
)
MFA_ADAPTER = "config.sign_in.adapters.FactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_TOTP_ISSUER = "Tollgate"
MFA_FORMS = {
    "authenticate": "config.sign_in.forms.SignInCodeForm",
    "reauthenticate": "config.sign_in.forms.ConfirmCodeForm",
    "add_webauthn": "config.sign_in.forms.PasskeyForm",
}

# Single sign-on, where an issuer is set.
TOLLGATE_OIDC_ISSUER = take("OIDC_ISSUER", default="", form=forms.http_url).rstrip("/")
TOLLGATE_OIDC_NAME = env.str("OIDC_NAME", default="") or "single sign-on"
TOLLGATE_OIDC_GROUPS_CLAIM = env.str("OIDC_GROUPS_CLAIM", default="groups")
TOLLGATE_OIDC_GROUPS = take("OIDC_GROUPS", default="", form=forms.pairs)
SOCIALACCOUNT_ADAPTER = "config.sign_in.single.SingleSignOnAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": forms.issuer_id(TOLLGATE_OIDC_ISSUER),
                "name": TOLLGATE_OIDC_NAME,
                "client_id": env.str("OIDC_CLIENT_ID", default=""),
                "secret": env.str("OIDC_CLIENT_SECRET", default=""),
                "settings": {"server_url": TOLLGATE_OIDC_ISSUER, "oauth_pkce_enabled": True},
            }
        ]
        if TOLLGATE_OIDC_ISSUER
        else []
    }
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = "config.formats"

UNFOLD = {
    "SITE_TITLE": "Tollgate",
    "SITE_HEADER": "Tollgate",
    "SITE_SUBHEADER": "Budgets for running programs",
    "SITE_ICON": "config.pages.navigation.mark",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "config.pages.navigation.mark"},
    ],
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "config.pages.dashboard.first_page",
    "STYLES": ["config.pages.navigation.stylesheet"],
    "SIDEBAR": {"navigation": "config.pages.navigation.navigation"},
    "ACCOUNT": {"navigation": "config.pages.navigation.own_pages"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.4% .014 205)",
            "100": "oklch(94.2% .03 205)",
            "200": "oklch(88.6% .055 205)",
            "300": "oklch(80.5% .083 205)",
            "400": "oklch(71.5% .1 207)",
            "500": "oklch(61.5% .1 209)",
            "600": "oklch(50.5% .086 211)",
            "700": "oklch(43.5% .073 212)",
            "800": "oklch(37.5% .06 214)",
            "900": "oklch(32.5% .05 216)",
            "950": "oklch(24.5% .04 218)",
        },
    },
}

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / ".static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 5_242_880  # a batch of telemetry (opslog.api.batches)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["workorders.api.auth.ServiceTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["workorders.api.auth.HasRequiredScope"],
    "DEFAULT_RENDERER_CLASSES": ["opslog.api.answers.AnswerRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "opslog.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

Q_CLUSTER = {
    "name": "tollgate",
    "orm": "default",
    "broker_class": "config.job_list.ListedJobs",
    "workers": take("JOB_WORKERS", default="2", form=forms.whole(1, 64)),
    "timeout": 120,
    "retry": 300,
    "max_attempts": 5,
    "ack_failures": True,
    "poll": 1.0,
    "catch_up": False,
    "save_limit": 1000,
    "label": "Jobs",
}

# Messages. Without EMAIL_URL those to people are marked as skipped. The addresses of channels are
# credentials; the name of the setting keeps them off Django's debug pages.
MAIL = take(
    "EMAIL_URL", default="dummymail://", form=forms.email(env.email_url_config), secret=True
)
vars().update(MAIL)
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = take("DEFAULT_FROM_EMAIL", default="tollgate@localhost", form=forms.sender)
# Used by what starts the web server, judged here.
TOLLGATE_HOST = take("HOST", default="127.0.0.1", form=forms.host)
TOLLGATE_PORT = {name: forms.server_number(name) for name in forms.SERVER}["PORT"]
TOLLGATE_BASE_URL = take(
    "BASE_URL",
    default=next(
        (origin for origin in CSRF_TRUSTED_ORIGINS if "*" not in origin),
        f"http://127.0.0.1:{TOLLGATE_PORT}",
    ),
    form=forms.http_url,
).rstrip("/")
TOLLGATE_NOTIFY_SECRET_URLS = take("NOTIFY_URLS", default="", form=forms.channels, secret=True)
TOLLGATE_NOTIFY_PRIVATE_NETWORKS = take("NOTIFY_PRIVATE_NETWORKS", default="0", form=forms.boolean)

# Optional: the day's spend is mirrored there; errors and budget alerts go to Sentry; pinged
# after each report. All three may hold credentials; the names keep them off Django's debug pages.
TOLLGATE_REDIS_SECRET_URL = take("REDIS_URL", default="", form=forms.redis_url, secret=True)
TOLLGATE_SENTRY_SECRET_DSN = take("SENTRY_DSN", default="", form=forms.http_url, secret=True)
TOLLGATE_HEALTHCHECK_SECRET_URL = take(
    "HEALTHCHECK_URL", default="", form=forms.http_url, secret=True
)

# Seals of the log. The private key is in a file of the data folder, or in the environment; the
# heads go to a file that only grows. The names keep credentials off Django's debug pages.
TOLLGATE_SEAL_SECRET_KEY = take("SEAL_KEY", default="", form=forms.private_key, secret=True)
TOLLGATE_SEAL_KEY_FILE = env.str("SEAL_KEY_FILE", default="") or (
    str(DATA.path / "seal_key") if EMBEDDED else ""
)
TOLLGATE_SEAL_HEADS_FILE = env.str("SEAL_HEADS_FILE", default="") or str(
    DATA.path / "seal_heads.jsonl"
)
TOLLGATE_SEAL_WEBHOOK_SECRET_URL = take(
    "SEAL_WEBHOOK_URL", default="", form=forms.http_url, secret=True
)

LOG_LEVEL = take("LOG_LEVEL", default="INFO", form=forms.log_level)
LOGGING = logging_config(LOG_LEVEL, json=take("LOG_JSON", default="1", form=forms.boolean))

# What the enforcement does; each is documented in README.md.
TOLLGATE_RETRY_AFTER = take("RETRY_AFTER", default="86400", form=forms.retry_after)
TOLLGATE_LIFT_ESTIMATES = take("LIFT_ESTIMATES", default="1", form=forms.boolean)
# The first values of the rows that the first migration makes; afterwards the rows count.
TOLLGATE_DAY_WARNING_USD = take("LLM_BUDGET_DAILY_USD", default="20.00", form=forms.dollars)
TOLLGATE_DAY_LIMIT_USD = take("LLM_BUDGET_HARD_LIMIT_USD", default="50.00", form=forms.dollars)
TOLLGATE_HOUR_LIMIT_USD = take("LLM_BUDGET_HOUR_USD", default="10.00", form=forms.dollars)
TOLLGATE_MINUTE_LIMIT_USD = take("LLM_BUDGET_MINUTE_USD", default="5.00", form=forms.dollars)
TOLLGATE_CONCURRENT_RUNS = take("CONCURRENT_RUNS", default="20", form=forms.whole(1, 10_000))
# Stamped into the database by its first migration; a process that says otherwise does not start.
TOLLGATE_ENVIRONMENT = take("ENVIRONMENT", default="development", form=forms.environment_name)
TOLLGATE_CONFIRM_OVER_USD = take("CONFIRM_OVER_USD", default="5.00", form=forms.dollars)
TOLLGATE_LEASE_SECONDS = take("LEASE_SECONDS", default="900", form=forms.whole(1, 86_400))
TOLLGATE_REFUSAL_EVENTS_PER_SECOND = take(
    "REFUSAL_EVENTS_PER_SECOND", default="20", form=forms.whole(1, 200)
)
TOLLGATE_EARLY_LOCK_RELEASE = take("EARLY_LOCK_RELEASE", default="1", form=forms.boolean)
TOLLGATE_DATABASE_TIMEOUT = take("DATABASE_TIMEOUT", default="2.5", form=forms.seconds(0.2, 2.9))
TOLLGATE_EVENT_RETENTION_DAYS = take(
    "EVENT_RETENTION_DAYS", default="90", form=forms.retention_days
)
TOLLGATE_REQUEST_TIMEOUT = take("REQUEST_TIMEOUT", default="10", form=forms.seconds(0.2, 120))
TOLLGATE_CONNECTIONS_PER_ADDRESS = take(
    "CONNECTIONS_PER_ADDRESS", default="256", form=forms.whole(1, 8192)
)
# Demo people and history, into an empty database; agents that ask for them.
TOLLGATE_DEMO = take("DEMO", default="1" if EMBEDDED else "0", form=forms.boolean)
TOLLGATE_DEMO_TRAFFIC = take("DEMO_TRAFFIC", default="1", form=forms.boolean)
# Counters are made while the apps are imported, before any check could say this.
if (counts := env.str("PROMETHEUS_MULTIPROC_DIR", default="")) and not Path(counts).is_dir():
    raise ImproperlyConfigured("PROMETHEUS_MULTIPROC_DIR must be a folder that exists.")
# A whole service on a database of its own, for `manage.py replay` (the apps import no config).
TOLLGATE_SCRATCH_SERVICE = "config.run.scratch.scratch_service"
TOLLGATE_SCRATCH_DATABASE = "config.run.scratch.scratch_database"

# What a web process and the database tell each other; `pyproject.toml` has the same.
TOLLGATE_RELEASE = "0.1.0"

SPECTACULAR_SETTINGS = {
    "TITLE": "Tollgate",
    "DESCRIPTION": "The budget governor for programs that spend money by themselves.",
    "VERSION": TOLLGATE_RELEASE,
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/(api|v1)",
    "SCHEMA_COERCE_PATH_PK_SUFFIX": False,
    "POSTPROCESSING_HOOKS": ["opslog.api.schema.complete"],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
            "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRFToken"},
        }
    },
    "TAGS": [
        {"name": "spending", "description": "Ask before you spend; report what it cost."},
        {"name": "guardrails", "description": "Kill switch, feature controls, burn rate."},
        {
            "name": "telemetry",
            "description": "Model calls, tool calls and changes, as programs tell them.",
        },
        {"name": "reading", "description": "Work orders, runs, usage, events."},
        {"name": "cap changes", "description": "Asked for by tokens; decided by people."},
        {"name": "administration", "description": "Needs the scope `admin`."},
    ],
}
