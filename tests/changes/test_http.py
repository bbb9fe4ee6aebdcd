"""Telling of changes over HTTP, and reading them."""

import pytest

from tests.api.harness import Api

DEPLOY = {"kind": "deploy", "what": "chat 2.0", "feature": "chat", "key": "chat-2.0"}


def test_told_twice_is_told_once(api: Api) -> None:
    with api.client("ingest") as client:
        first = client.post("/api/changes", json=DEPLOY)
        again = client.post("/api/changes", json=DEPLOY)
        other = client.post("/api/changes", json={**DEPLOY, "what": "chat 2.1"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json() == again.json()
    assert first.json()["recordedBy"] == "svc"
    assert api.sql("SELECT count(*) FROM change_markers WHERE key = 'chat-2.0'") == [(1,)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "party", "what": "x"}, "kind"),
        ({"kind": "deploy"}, "what"),
        ({"kind": "deploy", "what": " "}, "what"),
        ({"kind": "deploy", "what": "a\nb"}, "what"),
        ({"kind": "deploy", "what": "x", "happenedAt": "2026-01-01T00:00:00"}, "happenedAt"),
        ({"kind": "deploy", "what": "x", "happenedAt": "0001-01-01T00:00:00+09:00"}, "happenedAt"),
        ({"kind": "deploy", "what": "x", "happenedAt": "1999-01-01T00:00:00Z"}, "happenedAt"),
        ({"kind": "deploy", "what": "x", "key": ""}, "key"),
        ({"kind": "deploy", "what": "x", "color": "red"}, "color"),
    ],
)
def test_bad_bodies_name_the_field(api: Api, body: dict[str, str], field: str) -> None:
    with api.client("ingest") as client:
        answer = client.post("/api/changes", json=body)
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]


def test_read_by_feature_and_time(api: Api) -> None:
    with api.client("all") as client:
        for what, feature, at in (
            ("one", "draw", "2026-01-01T10:00:00Z"),
            ("two", "", "2026-01-01T11:00:00+02:00"),
            ("three", "other", "2026-01-01T10:30:00Z"),
        ):
            sent = {"kind": "other", "what": what, "feature": feature, "happenedAt": at}
            assert client.post("/api/changes", json=sent).status_code == 201
        found = client.get(
            "/api/changes",
            params={
                "feature": "draw",
                "since": "2026-01-01T00:00:00Z",
                "until": "2026-01-02T00:00:00Z",
            },
        ).json()
    assert [each["what"] for each in found["results"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("scope", "method", "status"),
    [("read", "POST", 403), ("ingest", "GET", 403), ("read", "GET", 200)],
)
def test_scopes(api: Api, scope: str, method: str, status: int) -> None:
    with api.client(scope) as client:
        answer = client.request(method, "/api/changes", json=DEPLOY if method == "POST" else None)
    assert answer.status_code == status
