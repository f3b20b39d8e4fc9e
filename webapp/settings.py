"""Settings of every process, read from the environment. docs/operations.md has the table of variables."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

from webapp import places, processes, single_sign_on
from webapp.database import parse_database_url, sqlite_database
from webapp.env import Env, EnvironmentProblem

env = Env()
BASE_DIR = places.BASE_DIR

try:
    DEBUG = env.flag("LEUKOSCOPE_DEBUG")
    HTTPS = env.flag("LEUKOSCOPE_HTTPS")
    VAR_DIR = places.var_dir(env)
    MEDIA_ROOT = env.path("LEUKOSCOPE_MEDIA", VAR_DIR / "media")
    SECRET_KEY = env.secret("LEUKOSCOPE_SECRET_KEY") or places.stored_secret_key(VAR_DIR)
    # The key of the audit's chain, and where its newest link is kept: both outside the database, on purpose.
    LEUKOSCOPE_AUDIT_KEY = env.secret("LEUKOSCOPE_AUDIT_KEY") or places.stored_secret(VAR_DIR, "audit_key")
    LEUKOSCOPE_AUDIT_HEAD: Path | None = env.path("LEUKOSCOPE_AUDIT_HEAD", VAR_DIR / "audit_head")
    # Proxies in front that each add to X-Forwarded-For the address that they saw; 0 looks at no such header.
    LEUKOSCOPE_PROXIES = env.integer("LEUKOSCOPE_PROXIES", 0, maximum=10)
    HOST = env.text("HOST", "127.0.0.1")
    DATABASE_URL = env.secret("DATABASE_URL")
    _database = parse_database_url(DATABASE_URL) if DATABASE_URL else sqlite_database(VAR_DIR / "db.sqlite3")
    # The password alone may come as a secret, while the address stands in the open beside the other settings.
    if _database_password := env.secret("DATABASE_PASSWORD"):
        _database["PASSWORD"] = _database_password
    BROKER_URL = places.broker_url(env)

    LEUKOSCOPE_BUNDLES: Path = env.path("LEUKOSCOPE_BUNDLES", BASE_DIR / "ml" / "bundles")
    # Those that `manage.py retrain` makes: never inside the code, which an upgrade replaces.
    LEUKOSCOPE_OWN_BUNDLES: Path = env.path("LEUKOSCOPE_OWN_BUNDLES", VAR_DIR / "bundles")
    # Labelled images that a new model version is judged on: a data set, or a folder of data sets.
    LEUKOSCOPE_DATA: Path | None = (
        env.path("LEUKOSCOPE_DATA", BASE_DIR) if env.text("LEUKOSCOPE_DATA") else None
    )
    LEUKOSCOPE_RUNTIME = env.choice("LEUKOSCOPE_RUNTIME", "auto", ("auto", "openvino", "tensorflow"))
    # How long a worker may be silent about an analysis it claimed before the sweep gives it to another one.
    LEUKOSCOPE_LEASE_SECONDS = env.integer("LEUKOSCOPE_LEASE_SECONDS", 30, minimum=5, maximum=3600)
    LEUKOSCOPE_VISIBILITY_SECONDS = env.integer(
        "LEUKOSCOPE_VISIBILITY_SECONDS", LEUKOSCOPE_LEASE_SECONDS, minimum=5
    )
    # How long the worker of a training's trial may be silent before the trial is given to another one.
    LEUKOSCOPE_TRIAL_GRACE_SECONDS = env.integer(
        "LEUKOSCOPE_TRIAL_GRACE_SECONDS", 60, minimum=3, maximum=3600
    )
    # Threads of the network in one analysis worker: the workers share the cores, none takes them all.
    LEUKOSCOPE_THREADS = env.integer(
        "LEUKOSCOPE_THREADS",
        max(1, processes.cores() // processes.analysis_workers(env)),
        minimum=1,
        maximum=256,
    )
    # Requests a minute that one token of the API may make.
    LEUKOSCOPE_API_RATE = env.integer("LEUKOSCOPE_API_RATE", 600, minimum=1)
    # Networks beside the public internet that webhooks may reach, as that of the laboratory's own LIS.
    LEUKOSCOPE_WEBHOOK_PRIVATE = env.networks("LEUKOSCOPE_WEBHOOK_PRIVATE")
    LEUKOSCOPE_LANGUAGE = env.text("LEUKOSCOPE_LANGUAGE", "en")
    TIME_ZONE = env.text("LEUKOSCOPE_TIME_ZONE", "UTC")
    LOG_LEVEL = env.choice("LEUKOSCOPE_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
    LEUKOSCOPE_SINGLE_SIGN_ON = single_sign_on.read(env)
    _allowed_hosts = env.listing("LEUKOSCOPE_ALLOWED_HOSTS")
    CSRF_TRUSTED_ORIGINS = env.listing("LEUKOSCOPE_TRUSTED_ORIGINS")
    SECURE_HSTS_SECONDS = env.integer("LEUKOSCOPE_HSTS_SECONDS", 31_536_000) if HTTPS else 0
except EnvironmentProblem as problem:
    raise ImproperlyConfigured(str(problem)) from problem

# --- who may ask --------------------------------------------------------------------------------------------

# Without a list, the names of this machine: a page opened at any other name (a rebound DNS name) is refused.
# localhost is always among them: the supervisor and the container's health check ask there.
ALLOWED_HOSTS = [*_allowed_hosts, "localhost", "127.0.0.1", "[::1]"]
if not _allowed_hosts and HOST in {"0.0.0.0", "::"}:
    ALLOWED_HOSTS += [socket.gethostname(), socket.getfqdn()]
elif not _allowed_hosts and HOST not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(f"[{HOST}]" if ":" in HOST else HOST)

# LEUKOSCOPE_HTTPS says that a proxy in front ends TLS and sets X-Forwarded-Proto itself.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600  # one long shift
X_FRAME_OPTIONS = "DENY"
# W021: being put on the browsers' preload list is the decision of who owns the domain.
SILENCED_SYSTEM_CHECKS = ["security.W021"]

OPENSEADRAGON_STYLE = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        # The hash is of the one rule that OpenSeadragon injects (no focus outline where nothing hovers).
        "style-src": [SELF, OPENSEADRAGON_STYLE],
        "font-src": [SELF],
        # blob: previews of files being dropped; data: icons inside stylesheets
        "img-src": [SELF, "blob:", "data:"],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- the application ----------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "diagnosis.apps.DiagnosisConfig",
    "webapp.apps.WebappConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    # `runserver` serves through whitenoise too, as gunicorn does.
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "csp",
    "django_htmx",
    # Second factors, single sign-on, and which sessions an account has. All tables are always there, so that
    # settings never change what a migration does; their heavy modules load with the first page that needs them.
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.usersessions",
]
if LEUKOSCOPE_SINGLE_SIGN_ON:  # it has no table of its own, and loads what talks to a provider
    INSTALLED_APPS.append("allauth.socialaccount.providers.openid_connect")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "diagnosis.middleware.AuditMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "diagnosis.middleware_access.AccessMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

ROOT_URLCONF = "webapp.urls"
WSGI_APPLICATION = "webapp.wsgi.application"

DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "diagnosis.User"
AUTHENTICATION_BACKENDS = ["diagnosis.backends.AccountBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Nobody signs up, and nobody needs an e-mail address: administrators make the accounts.
ACCOUNT_ADAPTER = "diagnosis.account_adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
# Of guesses at one-time codes. Passwords have their own brake, which can't lock a colleague out from elsewhere
# (services.guessing); the address alone counts for nothing: a clinic behind a proxy may have one.
ACCOUNT_RATE_LIMITS = {"login_failed": "10/10m/key", "login": None, "reauthenticate": "20/m/user"}
MFA_ADAPTER = "diagnosis.account_adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RATE_LIMITS = {"webauthn_login": "60/m/ip"}
MFA_TOTP_ISSUER = "Leukoscope"
MFA_TOTP_TOLERANCE = 1  # clocks of telephones and servers differ
MFA_FORMS = {
    "authenticate": "diagnosis.second_factor_forms.AuthenticateForm",
    "reauthenticate": "diagnosis.second_factor_forms.ReauthenticateForm",
}
MFA_ALLOW_UNVERIFIED_EMAIL = True  # no address is ever verified here
SOCIALACCOUNT_ADAPTER = "diagnosis.account_adapters.SingleSignOnAdapter"
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = (
    LEUKOSCOPE_SINGLE_SIGN_ON.allauth() if LEUKOSCOPE_SINGLE_SIGN_ON else {}
)
# A form may lead nowhere else under our policy (form-action), so a plain link leads to the provider.
SOCIALACCOUNT_LOGIN_ON_GET = True

# Files, which all web processes share: a count kept in each one's memory would allow that many times as much.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": VAR_DIR / "cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}

LANGUAGE_CODE = LEUKOSCOPE_LANGUAGE
USE_I18N = True
USE_TZ = True

# --- files --------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]  # vendor/: the browser libraries that `make` installs by npm
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG
            else "webapp.staticfiles.HashedStaticFiles"
        )
    },
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG

# One file a request; above 2.5 MB it goes to disk and not into memory. How large a file may be is intake's to
# say, with a sentence; the first handler keeps a larger one from filling the disk before intake sees it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
FILE_UPLOAD_HANDLERS = [
    "webapp.uploads.CutOversized",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
DATA_UPLOAD_MAX_NUMBER_FILES = 300  # a plain form, without our script, sends all files of a drop at once
FILE_UPLOAD_PERMISSIONS = 0o640
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o750

# --- work in the background ---------------------------------------------------------------------------------

CELERY_BROKER_URL = BROKER_URL
# Each queue has an exchange and key of its own: without them all three would get the default queue's tasks.
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name) for name in ("analysis", "training", "upkeep")
]
CELERY_TASK_DEFAULT_QUEUE = "upkeep"
CELERY_TASK_ROUTES = {
    "diagnosis.tasks.analyze_image": {"queue": "analysis"},
    "diagnosis.tasks.sweep": {"queue": "upkeep"},
    "diagnosis.tasks.remove_orphans": {"queue": "upkeep"},
    "diagnosis.tasks.verify_audit": {"queue": "upkeep"},
    "diagnosis.tasks.count_quality": {"queue": "upkeep"},
    "diagnosis.tasks.deliver_webhooks": {"queue": "upkeep"},
    "diagnosis.tasks.judge_version": {"queue": "training"},
    "diagnosis.tasks.run_shadows": {"queue": "training"},
    "diagnosis.tasks.run_trial": {"queue": "training"},
}
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_IGNORE_RESULT = True  # outcomes live in the database, in the transaction that made them
CELERY_TASK_ACKS_LATE = True
# acks_late alone loses the task of a killed child: it is acknowledged as failed. With this it is delivered
# again.
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker as long as it takes
# A task not acknowledged for `visibility_timeout` seconds is given to another worker, and the loops that look
# for such tasks run every 2 s: a killed worker's task is back within seconds. An analysis must end well
# inside it; one that does not is claimed only once all the same, by its lease.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": LEUKOSCOPE_VISIBILITY_SECONDS,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
# A page that queues an analysis must not hang on a broker that is away: the sweep sends it later.
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.2,
}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "diagnosis.tasks.sweep",
        "schedule": 10.0,
        # A sweep that nobody took before the next one is due is worth nothing.
        "options": {"queue": "upkeep", "expires": 10.0},
    },
    "deliver-webhooks": {
        "task": "diagnosis.tasks.deliver_webhooks",
        "schedule": 10.0,
        "options": {"queue": "upkeep", "expires": 10.0},
    },
    "verify-audit": {
        "task": "diagnosis.tasks.verify_audit",
        "schedule": 3600.0,  # it does so once a day
        "options": {"queue": "upkeep", "expires": 3600.0},
    },
    "count-quality": {
        "task": "diagnosis.tasks.count_quality",
        "schedule": 3600.0,
        "options": {"queue": "upkeep", "expires": 3600.0},
    },
    "remove-orphans": {
        "task": "diagnosis.tasks.remove_orphans",
        "schedule": 3600.0,
        "options": {"queue": "upkeep", "expires": 3600.0},
    },
}

# --- what is said -------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False},
        # A scanner asking for foreign host names is noise, not an error of ours.
        "django.security.DisallowedHost": {"handlers": [], "propagate": False},
    },
}
