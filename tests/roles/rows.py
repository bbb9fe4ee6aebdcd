"""Rows as somebody writes them by hand."""

from tests.roles.conftest import Connection

WORK_ORDER = "INSERT INTO work_orders (id, title) VALUES ('w1', 'One')"
PERSON = """INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name,
    last_name, email, date_joined) VALUES (%s, 'hash-of-it', false, true, true, '', '', '', now())
RETURNING id"""
TOKEN = """INSERT INTO service_tokens (name, prefix, digest, scopes, owner_id)
VALUES ('mine', 'tg_mine0', sha256('x'), '{admin,start}', %s) RETURNING id"""
RUN = """INSERT INTO work_order_runs (id, wo_id, agent_name, reserved_usd, day, lease_expires_at,
    lease_seconds) VALUES (gen_random_uuid(), 'w1', 'a', 0.5, current_date, now(), 900) RETURNING id"""


def person(app: Connection, name: str = "mallory") -> int:
    [(number,)] = app.sql(PERSON, name)
    return int(number)
