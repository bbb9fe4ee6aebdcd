"""Says in one line what is wrong with DATABASE_URL, before anything is started on it."""

from urllib.parse import SplitResult, urlsplit

MINIMUM = 15
FORM = "postgres://USER:PASSWORD@HOST:PORT/NAME"
SCHEMES = ("postgres", "postgresql", "psql", "pgsql")


class UnusableDatabase(Exception):
    """The message is one line and holds no password."""


def require_postgres(url: str, variable: str = "DATABASE_URL") -> SplitResult:
    """The address in its parts. Raises UnusableDatabase for what cannot be one."""
    try:
        parts = urlsplit(url)
        port_is_sane = parts.port is None or parts.port > 0
    except ValueError:
        raise UnusableDatabase(f"{variable} is not an address of the form {FORM}.") from None
    if parts.scheme not in SCHEMES:
        named = f"“{parts.scheme}”" if parts.scheme and "://" in url else "no scheme"
        raise UnusableDatabase(f"{variable} must name a PostgreSQL ({FORM}); it has {named}.")
    if not port_is_sane or not parts.path.strip("/"):
        raise UnusableDatabase(f"{variable} is not an address of the form {FORM}.")
    return parts


def check_database(url: str, variable: str = "DATABASE_URL") -> None:
    """Connects once. Raises UnusableDatabase."""
    import psycopg

    parts = require_postgres(url, variable)
    try:
        with psycopg.connect(
            parts._replace(scheme="postgresql").geturl(), connect_timeout=5
        ) as database:
            version = database.info.server_version
    except psycopg.ProgrammingError:
        raise UnusableDatabase(f"{variable} is not an address of the form {FORM}.") from None
    except (psycopg.Error, UnicodeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise UnusableDatabase(f"{variable}: no connection: {reason}") from None
    if version < MINIMUM * 10_000:
        raise UnusableDatabase(
            f"{variable}: PostgreSQL {version // 10_000} is too old, {MINIMUM} is the minimum."
        )
