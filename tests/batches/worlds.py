"""A random world of limits and switches, and random things that happen in it, for two databases."""

import hashlib
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests import factories
from workorders import tokens

Step = tuple[str, Any]
BEGINS = datetime(2026, 3, 14, 23, 40, 7, tzinfo=UTC)
ORDERS = [f"w{number}" for number in range(8)]
# scope, subjects, windows, measures, amounts; of each some are picked.
LIMITS: list[tuple[str, list[str], list[str], dict[str, list[str]]]] = [
    ("global", [""], ["open"], {"runs": ["6", "15", "40"]}),
    ("global", [""], ["hour", "day", "month"], {"usd": ["1.5", "4"], "requests": ["45"]}),
    ("global", [""], ["rolling_hour"], {"usd": ["2.2"], "tokens": ["3000"]}),
    ("global", [""], ["rolling_minute"], {"usd": ["0.4", "0.9", "6"]}),
    ("user", ["*", "u1"], ["rolling_minute", "day"], {"requests": ["3", "9"], "usd": ["0.3"]}),
    ("user", ["*"], ["hour", "rolling_hour"], {"tokens": ["900"], "usd": ["0.55"]}),
    ("address", ["*", "10.0.0.2"], ["minute", "day"], {"requests": ["12", "50"]}),
    ("surface", ["*", "cli"], ["rolling_hour", "day"], {"requests": ["20"], "usd": ["0.8"]}),
    ("feature", ["*", "few"], ["hour", "month"], {"usd": ["0.4", "1"], "tokens": ["500"]}),
    ("model", ["*", "m1"], ["day", "rolling_minute"], {"tokens": ["700"], "usd": ["0.5"]}),
    ("agent", ["*", "a1"], ["day", "minute"], {"requests": ["4", "30"], "usd": ["1"]}),
    ("team", ["*"], ["month"], {"usd": ["1.1"]}),
    ("cost_dimension", ["*"], ["day"], {"requests": ["60"], "usd": ["3"]}),
    ("model_tier", ["largest", "middle"], ["open"], {"runs": ["1", "3"]}),
    ("work_order", ["*"], ["day"], {"usd": ["NULL"], "requests": ["NULL"]}),
]
PERCENTS = ["{}", "{}", "{100}", "{50,80}", "{10,20,30,100}", "{90}"]
RESIZE = "UPDATE budgets SET amount = amount * {} WHERE scope = '{}' AND \"window\" <> 'open'"
CLOSE_ALL = """
UPDATE circuit_breakers SET state = 'closed', half_open_at = NULL, probe_run_id = NULL
WHERE subject <> '*'
"""
ESTIMATES = ["0.01", "0.01", "0.02", "0.05", "0.0000001", "0", "0.3", "1.2", "6", None, None]


@dataclass
class World:
    """What a seed makes of it. `settings`: Retry-After, lifted estimates, the dollars that need a
    confirmation, events of refusals a second."""

    seed: int
    chance: random.Random = field(init=False)
    digests: list[tuple[str, float]] = field(default_factory=list)
    settings: list[Any] = field(default_factory=list)
    version: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def maybe(self, chance: float) -> bool:
        return self.chance.random() < chance

    def make(self, owner: psycopg.Connection[Any]) -> None:
        """In the database that Django's connections are of."""
        pick = self.chance.choice
        self.settings = [pick([None, 86400, 7]), pick([True, False]), pick(["0.25", "5.00"])]
        self.settings.append(pick([2, 5, 20]))
        for number, name in enumerate(ORDERS):
            factories.make_work_order(
                name,
                runs_per_day=pick([5, 30, 100, 100]),
                usd_per_day=pick(["0.05", "2.00", "9.00", "60.00"]),
                max_concurrent_runs=pick([1, 3, 50, 50]),
                title=pick(["", f"Order {number}"]),
                status="suspended" if number == 7 else "draft",
                refuse_unknown_agents=number == 6,
                team=pick(["", "red"]),
            )
        factories.make_agent("a1")
        factories.make_agent("gone", is_active=False)
        self.make_tokens()
        if self.maybe(0.8):
            owner.execute(
                "UPDATE budgets SET amount = NULL, alert_percents = '{}', warning_amount = NULL"
            )
        for scope, subjects, windows, measures in LIMITS:
            if self.maybe(0.7):
                continue
            measure = pick(list(measures))
            owner.execute(
                'INSERT INTO budgets (scope, subject, "window", measure, amount, warning_amount,'
                " alert_percents) VALUES (%s, %s, %s, %s, nullif(%s, 'NULL')::numeric, %s, %s)"
                ' ON CONFLICT (scope, subject, "window", measure) DO UPDATE SET'
                " amount = excluded.amount, warning_amount = excluded.warning_amount,"
                " alert_percents = excluded.alert_percents",
                [
                    *(scope, pick(subjects), pick(windows), measure, pick(measures[measure])),
                    None if scope == "work_order" else pick([None, None, "0.2", "3"]),
                    pick(PERCENTS),
                ],
            )
        period = pick(["rolling_minute", "rolling_hour", "day"])
        owner.execute(
            "INSERT INTO feature_flags (feature, enabled, period, requests_per_period,"
            " cost_cap_usd, reason, changed_by, changed_at) VALUES"
            " ('off', false, 'day', NULL, NULL, 'r', 'x', now()),"
            " ('few', true, %s, %s, NULL, 'r', 'x', now()),"
            " ('dear', true, 'rolling_hour', %s, %s, 'r', 'x', now())",
            [period, pick([2, 7]), pick([9, None]), pick(["0.1", "0.35", "1"])],
        )
        owner.execute(
            "INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at)"
            " VALUES ('Identity', 'user:killed', true, 'r', 'x', now()),"
            " ('Surface', 'dead', %s, 'r', 'x', now()), ('Global', '', false, 'r', 'x', now())"
            " ON CONFLICT (scope, target) DO UPDATE SET enabled = excluded.enabled",
            [self.maybe(0.5)],
        )
        for name in ORDERS[:4]:
            owner.execute(
                "INSERT INTO cost_statistics (wo_id, settled_runs, successful_runs, median_usd,"
                " p95_usd, p95_tokens) VALUES (%s, %s, %s, %s, %s, %s)",
                [name, pick([19, 20]), pick([0, 25]), pick(["0", "0.03"]), pick(["0", "0.07"]), 40],
            )
        # Grants that begin and end while they start.
        owner.execute("ALTER TABLE cap_grants DISABLE TRIGGER USER")
        for name, since, until, measure, value in (
            ("w0", -500, pick([200, 900, 3000]), "runs_per_day", 60),
            ("w1", pick([100, 1500]), 3600, "max_concurrent_runs", 9),
            ("w2", -50, pick([60, 2000]), "usd_per_day", 12),
        ):
            owner.execute(
                "INSERT INTO cap_grants (wo_id, measure, value, starts_at, ends_at, kind, reason,"
                " granted_by, person_id) SELECT %s, %s, %s, %s, %s, 'break_glass', 'r', 'x',"
                " min(id) FROM auth_user",
                [
                    *(name, measure, value),
                    BEGINS + timedelta(seconds=since),
                    BEGINS + timedelta(seconds=until),
                ],
            )
        owner.execute("ALTER TABLE cap_grants ENABLE TRIGGER USER")
        row = owner.execute("SELECT version FROM price_book_version").fetchone()
        self.version = row[0] if row else 0

    def make_tokens(self) -> None:
        inactive = factories.make_user("inactive", is_active=False)
        first, text = factories.make_token(name="first")
        self.digests = [(text, 8.0)]
        for more, weight in (
            ({"name": "second"}, 3),
            ({"name": "scoped", "work_orders": ["w0", "w3"]}, 1),
            ({"name": "near", "networks": ["10.0.0.0/8"]}, 1),
            ({"name": "pinned", "surface": "cli", "feature": "dear"}, 1.5),
            ({"name": "ingest", "scopes": ["ingest"]}, 0.3),
            ({"name": "inactive", "owner": inactive}, 0.2),
            ({"name": "expired", "expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, 0.2),
        ):
            self.digests.append((factories.make_token(**more)[1], weight))
        revoked, text = factories.make_token(name="revoked")
        tokens.revoke(revoked.pk, by="test", reason="a test")
        self.digests += [(text, 0.2), ("tg_unknown", 0.2)]
        _, text = tokens.rotate(first.pk, by="test", reason="a test", overlap=timedelta(days=9999))
        self.digests.append((text, 2))

    def ask(self, n: int) -> dict[str, Any]:
        pick, odds = self.chance.choice, self.chance.random
        texts, weights = zip(*self.digests, strict=True)
        text = self.chance.choices(texts, weights)[0]
        estimate = pick(ESTIMATES)
        tier = pick(["", "", "largest", "middle"])
        asked = {
            "wo": pick([*ORDERS, "w0", "w1", "w1", "nowhere"] if odds() < 0.5 else ["w0", "w1"]),
            "agent": pick(["a1", "a1", "a2", "gone"]),
            "estimate": estimate,
            "priced": pick([None, True, True, False]) if estimate in (None, "0") else None,
            "book_version": self.version if odds() < 0.97 else self.version + 1,
            "lease": self.lease(),
            "tokens": pick([None, None, 0, 10, 400]),
            "model": pick(["", "m1", "m2"]) if tier else "",
            "tier": tier,
            "user_id": pick(["", "", "u1", "u2", "u3", "killed" if odds() < 0.3 else "u4"]),
            "surface": pick(["", "", "cli", "web", "dead" if odds() < 0.3 else "api"]),
            "feature": pick(["", "", "few", "dear", "dear", "off" if odds() < 0.3 else "new"]),
            "confirm": odds() < 0.3,
            "address": pick(["10.0.0.1", "10.0.0.1", "10.0.0.2", "192.168.0.9", None]),
            "sent_as": pick([None, None, {"agentName": "A1"}]),
        }
        same = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        key = pick(["", "", "", f"k{self.chance.randrange(40)}"])
        return asked | {
            "op": "start",
            "n": n,
            "digest": "\\x" + tokens.digest(text).hex(),
            "key": key,
            "fingerprint": "\\x" + (same if odds() < 0.5 else "01" if key else ""),
            "request_id": f"r{n}",
        }

    def lease(self) -> int:
        """Where some asks fail (no row holds a lease of -1 s), no run becomes overdue: one by one,
        what such an ask has reaped is undone with it."""
        if self.seed % 5 == 0:
            return 500_000 if self.maybe(0.98) else -1
        return self.chance.choice([3, 30, 900])

    def steps(self, asks: int) -> list[Step]:
        """What happens, the same in both databases."""
        steps: list[Step] = []
        pick, n = self.chance.choice, 0
        while n < asks:
            size = min(self.chance.randint(1, 32), asks - n)
            batch = [self.ask(number) for number in range(n, n + size)]
            if batch and self.maybe(0.3):  # twins
                batch[-1] |= {**batch[0], "n": batch[-1]["n"], "key": "twin", "request_id": "twin"}
                batch[0]["key"] = "twin"
            if self.maybe(0.25):  # many alike, as programs do
                batch = [batch[0] | {"n": a["n"], "key": a["key"]} for a in batch]
            steps.append(("batch", batch))
            n += size
            if self.maybe(0.7):
                steps.append(("clock", pick([0, 0.4, 1, 9, 35, 400, 400, 1300])))
            if self.maybe(0.6):
                steps.append(("finish", [self.chance.random() for _ in range(pick([1, 3, 9]))]))
            if self.maybe(0.3):
                steps.append(("sql", pick(self.changes())))
        return steps

    def changes(self) -> list[str]:
        pick = self.chance.choice
        wo = pick(ORDERS[:5])
        return [
            f"SELECT tollgate.trip('work_order', '{wo}', 'a test', tollgate.now())",
            "SELECT tollgate.trip('global', '', 'a test', tollgate.now())"
            if self.maybe(0.3)
            else "SELECT tollgate.alert_sweep_v1()",
            "UPDATE circuit_breakers SET open_seconds = 5, probe_seconds = 3",
            CLOSE_ALL,
            f"UPDATE kill_switches SET enabled = {self.maybe(0.4)} WHERE scope = 'Surface'",
            f"UPDATE feature_flags SET enabled = {self.maybe(0.8)} WHERE feature = 'dear'",
            "UPDATE feature_flags SET cost_cap_usd = cost_cap_usd * 2 WHERE feature = 'dear'",
            RESIZE.format(pick(["0.5", "2", "3"]), pick(["global", "user", "agent"])),
            f"UPDATE work_orders SET status = 'suspended' WHERE id = '{wo}' AND status = 'draft'"
            if self.maybe(0.2)
            else "SELECT tollgate.reap_v1(NULL, 500)",
        ]


STATE: dict[str, str] = {
    "counters": "SELECT key, runs, open_runs, reserved_usd, settled_usd, reserved_tokens,"
    " settled_tokens FROM counters WHERE runs > 0 ORDER BY key",
    "runs": "SELECT (to_jsonb(r) - '{charged_to}'::text[])::text, ARRAY(SELECT k.key FROM counters"
    " k WHERE k.id = ANY (r.charged_to) ORDER BY 1) FROM work_order_runs r",
    "run charges": "SELECT (to_jsonb(r) - '{id,charged_to}'::text[])::text FROM run_charges r",
    "keys": "SELECT to_jsonb(r)::text FROM idempotency_records r",
    "alerts": "SELECT (to_jsonb(a) - '{id}'::text[])::text FROM alerts a"
    " WHERE kind <> 'kill_switch'",
    "events": "SELECT kind, message, owner_type, owner_id, owner_label, actor, request_id,"
    " meta::text FROM operations_events",
    "tallies": "SELECT to_jsonb(t)::text FROM refusal_tallies t",
    "groups": "SELECT to_jsonb(g)::text FROM refusal_groups g",
    "refused asks": "SELECT array_agg((to_jsonb(a) - '{id}'::text[])::text ORDER BY id)::text"
    " FROM refused_asks a GROUP BY lineage, name",
    "features": "SELECT (to_jsonb(f) - '{changed_at}'::text[])::text FROM feature_flags f",
    "breakers": "SELECT to_jsonb(b)::text FROM circuit_breakers b",
    "statistics": "SELECT to_jsonb(s)::text FROM cost_statistics s",
}
