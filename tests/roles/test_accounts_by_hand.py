"""People, their ways in, and tokens, changed by SQL with the application's database role."""

import pytest
from django.conf import settings
from psycopg import errors

from tests.roles.conftest import Connection
from tests.roles.rows import TOKEN, WORK_ORDER, person

APP = str(settings.DATABASES["default"]["USER"])
DENIED = errors.InsufficientPrivilege


def test_a_superuser_by_hand_leaves_an_event(app: Connection) -> None:
    number = person(app)
    assert len(app.events("USER_CREATED")) == 1
    app.sql("UPDATE auth_user SET is_superuser = true WHERE id = %s", number)
    [(kind, subject, actor, user, meta)] = app.events("USER_CHANGED")
    assert (kind, subject, actor, user) == ("user", str(number), APP, APP)
    assert meta["changes"] == {"is_superuser": {"old": False, "new": True}}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("is_active", "false"),
        ("is_staff", "false"),
        ("username", "'else'"),
        ("email", "'else@example.org'"),
        ("password", "'another-hash'"),
        ("first_name", "'Else'"),
    ],
)
def test_an_account_changed_by_hand_leaves_an_event(
    app: Connection, column: str, value: str
) -> None:
    number = person(app)
    app.sql(f"UPDATE auth_user SET {column} = {value} WHERE id = %s", number)
    [(*_, meta)] = app.events("USER_CHANGED")
    assert set(meta["changes"]) == {column}
    assert "hash" not in str(meta)


def test_an_account_deleted_by_the_owner_leaves_an_event(owner: Connection) -> None:
    number = person(owner)
    owner.sql("DELETE FROM auth_user WHERE id = %s", number)
    [(kind, subject, actor, user, meta)] = owner.events("USER_DELETED")
    assert (kind, subject, actor) == ("user", str(number), user)
    assert meta == {"changes": {}, "by": "DELETE", "reason": None}


def test_a_group_made_or_deleted_by_the_owner_leaves_an_event(owner: Connection) -> None:
    [(number,)] = owner.sql("INSERT INTO auth_group (name) VALUES ('mine') RETURNING id")
    owner.sql("DELETE FROM auth_group WHERE id = %s", number)
    for kind, by in (("GROUP_CREATED", "INSERT"), ("GROUP_DELETED", "DELETE")):
        [(owner_type, subject, actor, user, meta)] = owner.events(kind)
        assert (owner_type, subject, actor) == ("group", str(number), user)
        assert meta["by"] == by


def test_a_number_exchanged_for_anothers_leaves_an_event(app: Connection) -> None:
    """Groups and votes are those of a number."""
    vp, mallory = person(app, "vp"), person(app)
    app.sql("UPDATE auth_user SET id = -1 WHERE id = %s", vp)
    app.sql("UPDATE auth_user SET id = %s WHERE id = %s", vp, mallory)
    event = [each[4]["changes"] for each in app.events("USER_CHANGED")]
    assert {"id": {"old": mallory, "new": vp}} in event


def test_a_membership_by_hand_leaves_an_event(app: Connection) -> None:
    """From when on votes count is a row, too."""
    number = person(app)
    app.sql(
        "INSERT INTO memberships (person_id, group_id, how, counts_from)"
        " SELECT %s, id, 'before', '2020-01-01' FROM auth_group WHERE name = 'vp'",
        number,
    )
    [(*_, meta)] = app.events("USER_CHANGED")
    assert meta["changes"]["counts_from"]["new"].startswith("2020-01-01")


def test_a_link_to_an_identity_provider_by_hand_leaves_an_event(app: Connection) -> None:
    number = person(app)
    app.sql(
        "INSERT INTO socialaccount_socialaccount"
        " (user_id, provider, uid, last_login, date_joined, extra_data)"
        " VALUES (%s, 'oidc', 'mallory', now(), now(), '{}')",
        number,
    )
    [(*_, meta)] = app.events("USER_CHANGED")
    assert meta["changes"] == {"single_sign_on": {"old": None, "new": "mallory"}}


FACTOR = """INSERT INTO mfa_authenticator (user_id, type, data, created_at)
VALUES (%s, 'recovery_codes', '{"seed": "mine", "used_mask": 1}', now())"""


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM mfa_authenticator", "SECOND_FACTOR_REMOVED"),
        (
            'UPDATE mfa_authenticator SET data = \'{"seed": "x", "used_mask": 1}\'',
            "SECOND_FACTOR_CHANGED",
        ),
        (
            "UPDATE mfa_authenticator SET data = data || '{\"used_mask\": 2}'",
            "SECOND_FACTOR_CHANGED",
        ),
        ("UPDATE mfa_authenticator SET type = 'totp'", "SECOND_FACTOR_CHANGED"),
    ],
)
def test_a_second_factor_by_hand_leaves_an_event(
    app: Connection, statement: str, kind: str
) -> None:
    app.sql(FACTOR, person(app))
    [(*_, meta)] = app.events("SECOND_FACTOR_ADDED")
    assert meta["changes"] == {"second_factor": {"old": None, "new": "recovery_codes"}}
    app.sql(statement)
    assert len(app.events(kind)) == 1


def test_using_a_second_factor_is_no_change_of_it(app: Connection) -> None:
    app.sql(FACTOR, person(app))
    app.sql(
        """UPDATE mfa_authenticator SET last_used_at = now(), data = data || '{"used_mask": 3}'"""
    )
    assert app.events("SECOND_FACTOR_CHANGED") == []


def test_a_log_in_is_no_change_of_an_account(app: Connection) -> None:
    number = person(app)
    app.sql("UPDATE auth_user SET last_login = now() WHERE id = %s", number)
    assert app.events("USER_CHANGED") == []


@pytest.mark.parametrize(
    ("table", "sql", "part"),
    [
        (
            "auth_user_groups",
            (
                "INSERT INTO auth_user_groups (user_id, group_id) "
                "SELECT %s, id FROM auth_group WHERE name = 'finance'"
            ),
            "groups",
        ),
        (
            "auth_user_user_permissions",
            (
                "INSERT INTO auth_user_user_permissions (user_id, permission_id) "
                "SELECT %s, id FROM auth_permission WHERE codename = 'change_user'"
            ),
            "permissions",
        ),
    ],
)
def test_rights_given_by_hand_leave_an_event(
    app: Connection, table: str, sql: str, part: str
) -> None:
    number = person(app)
    app.sql(sql, number)
    [(_, subject, _, _, meta)] = app.events("USER_CHANGED")
    assert subject == str(number)
    assert len(meta["changes"][part]["new"]) == 1
    app.sql(f"DELETE FROM {table} WHERE user_id = %s", number)
    *_, meta = app.events("USER_CHANGED")[-1]
    assert len(meta["changes"][part]["old"]) == 1


def test_permissions_of_a_group_leave_an_event(app: Connection) -> None:
    app.sql(
        "INSERT INTO auth_group_permissions (group_id, permission_id) SELECT g.id, p.id "
        "FROM auth_group g, auth_permission p WHERE g.name = 'auditor' AND p.codename = 'delete_user'"
    )
    [(kind, *_, meta)] = app.events("GROUP_CHANGED")
    assert (kind, meta["changes"]["permissions"]["new"]) == ("group", ["delete_user"])
    app.sql("UPDATE auth_group SET name = 'else' WHERE name = 'auditor'")
    assert len(app.events("GROUP_CHANGED")) == 2


def test_what_a_permission_means_is_the_owners(app: Connection) -> None:
    for statement in (
        "UPDATE auth_permission SET codename = 'change_user' WHERE codename = 'view_user'",
        "UPDATE django_content_type SET model = 'user' WHERE model = 'group'",
        "DELETE FROM django_migrations",
    ):
        with pytest.raises(DENIED):
            app.sql(statement)


def test_an_event_that_lies_does_not_silence_the_trigger(app: Connection) -> None:
    number = person(app)
    app.sql("UPDATE auth_user SET is_superuser = true WHERE id = %s", number)
    app.sql(
        "INSERT INTO operations_events (kind, owner_type, owner_id, meta) VALUES ('USER_CHANGED', "
        '\'user\', %s, \'{"changes": {"email": {"old": "", "new": ""}}}\')',
        str(number),
    )
    lie, truth = app.events("USER_CHANGED")
    assert "is_superuser" not in lie[4]["changes"]
    assert truth[4]["changes"] == {"is_superuser": {"old": False, "new": True}}


def test_what_the_application_tells_is_told_once(app: Connection) -> None:
    number = person(app)
    app.sql("UPDATE auth_user SET is_staff = false WHERE id = %s", number)
    app.sql(
        "INSERT INTO operations_events (kind, owner_type, owner_id, meta) VALUES ('USER_CHANGED', "
        '\'user\', %s, \'{"changes": {"is_staff": {"old": true, "new": false}}}\')',
        str(number),
    )
    assert len(app.events("USER_CHANGED")) == 1


def test_a_token_by_hand_leaves_an_event(app: Connection) -> None:
    [(token,)] = app.sql(TOKEN, person(app))
    [(kind, subject, _, user, meta)] = app.events("TOKEN_CREATED")
    assert (kind, subject, user) == ("service_token", str(token), APP)
    assert meta["changes"]["scopes"]["new"] == ["admin", "start"]
    assert len(meta["changes"]["digest"]["new"]) == 12
    app.sql("UPDATE service_tokens SET expires_at = now() + interval '9 years'")
    app.sql("UPDATE service_tokens SET scopes = '{read}'")
    assert [set(each[4]["changes"]) for each in app.events("TOKEN_CHANGED")] == [
        {"expires_at"},
        {"scopes"},
    ]
    with pytest.raises(errors.RestrictViolation):
        app.sql("UPDATE service_tokens SET digest = sha256('y')")
    app.sql("UPDATE service_tokens SET revoked_at = now()")
    app.sql("UPDATE service_tokens SET revoked_at = NULL")
    assert len(app.events("TOKEN_REVOKED")) == 1
    assert app.events("TOKEN_CHANGED")[-1][4]["changes"]["revoked_at"]["new"] is None


def test_a_token_deleted_by_the_owner_leaves_an_event(owner: Connection) -> None:
    [(token,)] = owner.sql(TOKEN, person(owner))
    owner.sql("DELETE FROM token_uses WHERE token_id = %s", token)
    owner.sql("DELETE FROM service_tokens WHERE id = %s", token)
    [(kind, subject, _, _, meta)] = owner.events("TOKEN_DELETED")
    assert (kind, subject, meta["by"]) == ("service_token", str(token), "DELETE")


def test_settings_of_work_orders_and_agents_leave_an_event(app: Connection) -> None:
    app.sql(WORK_ORDER)
    app.sql("UPDATE work_orders SET refuse_unknown_agents = true, team = 'else'")
    app.sql("INSERT INTO agents (name) VALUES ('a')")
    app.sql("UPDATE agents SET is_active = false")
    [(*_, work_order)], [(*_, agent)] = (
        app.events("WORK_ORDER_CHANGED"),
        app.events("AGENT_CHANGED"),
    )
    assert set(work_order["changes"]) == {"refuse_unknown_agents", "team"}
    assert set(agent["changes"]) == {"is_active"}


def test_it_is_written_when_the_transaction_ends(app: Connection, migrated: str) -> None:
    """Without anybody who asks for it."""
    number = person(app, "committed")
    app.db.commit()
    assert app.sql(
        "SELECT count(*) FROM operations_events WHERE kind = 'USER_CREATED' AND owner_id = %s",
        str(number),
    ) == [(1,)]
