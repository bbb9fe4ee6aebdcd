"""The query behind each figure, for the hours of one incident, ready to be run.

They read what the triage read, over the same hours: the sums of each hour (`inference_hours`,
`tool_hours`: as the events have it, and quicker) where it takes those, the events of at most a day
where it asks who it was. Text for people (`psql`, a notebook); nothing here is executed. Names are
put in as quoted literals.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from string import Template

from opslog.triage.data import CELL_HOURS, HISTORY_HOURS
from opslog.triage.normal import DAY, NEIGHBOURS, WEEK
from opslog.triage.panel import HOUR

PLAIN = re.compile(r"[\w .,:;/@+-]*")

# What each hour cost, and should have: the median of the same hours before the spike, each with two
# on either side.
HOURS = """\
WITH hours AS (
    SELECT hour, COALESCE(SUM(cost_usd), 0)::float8 AS cost
    FROM generate_series(
        (SELECT MIN(hour) FROM inference_hours WHERE hour >= $history AND hour < $until),
        $until - interval '1 hour', interval '1 hour') AS hour
    LEFT JOIN inference_hours USING (hour)
    GROUP BY hour
), usual AS (
    SELECT spike.hour, spike.cost,
        COALESCE(PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY near.cost), 0) AS normal
    FROM hours AS spike
    LEFT JOIN hours AS same ON same.hour < $started
        AND MOD(EXTRACT(epoch FROM spike.hour - same.hour), 3600 * $step) = 0
    LEFT JOIN LATERAL (SELECT AVG(cost) AS cost FROM hours
        WHERE hour >= same.hour - interval '$neighbours hours'
            AND hour <= same.hour + interval '$neighbours hours' AND hour < $started
    ) AS near ON true
    WHERE spike.hour >= $started
    GROUP BY spike.hour, spike.cost
)"""
CONFIRM = """\
$usual_hours
SELECT hour, normal, cost FROM usual ORDER BY hour;"""
# The states before and after of each feature, and the additive log-mean of what lies between them.
TRAFFIC = """\
$usual_hours, cells AS (
    SELECT hour, hour >= $started AS spike, feature, model, requests::float8 AS n,
        input_tokens::float8 AS i, output_tokens::float8 AS o, cost_usd::float8 AS usd
    FROM inference_hours WHERE hour >= $first AND hour < $until
), sums AS (  -- of each model: least squares of cost = in * price of in + out * price of out
    SELECT model, spike, SUM(i * i / GREATEST(n, 1)) AS ii, SUM(i * o / GREATEST(n, 1)) AS io,
        SUM(o * o / GREATEST(n, 1)) AS oo, SUM(i * usd / GREATEST(n, 1)) AS ic,
        SUM(o * usd / GREATEST(n, 1)) AS oc
    FROM cells GROUP BY 1, 2
), leaning AS (
    SELECT model, spike, ii + 16e-7 * (ii + oo) AS ii, io - 4e-7 * (ii + oo) AS io,
        oo + 1e-7 * (ii + oo) AS oo, ic, oc FROM sums
), model_prices AS (
    SELECT model, spike, GREATEST(0, (ic * oo - oc * io) / (ii * oo - io * io)) AS price_in,
        GREATEST(0, (oc * ii - ic * io) / (ii * oo - io * io)) AS price_out
    FROM leaning WHERE ii * oo - io * io > 0
), prices AS (  -- of each feature, before the spike; of a new one, in it
    SELECT DISTINCT ON (feature) feature,
        COALESCE(SUM(i * price_in) / NULLIF(SUM(i), 0), 0) AS price_in,
        COALESCE(SUM(o * price_out) / NULLIF(SUM(o), 0), 0) AS price_out
    FROM cells JOIN model_prices USING (model, spike)
    GROUP BY feature, spike HAVING SUM(i) + SUM(o) > 0 ORDER BY feature, spike
), grid AS (
    SELECT feature, hour, COALESCE(SUM(n), 0) AS n, COALESCE(SUM(i), 0) AS i,
        COALESCE(SUM(o), 0) AS o, COALESCE(SUM(usd), 0) AS usd
    FROM (SELECT DISTINCT feature FROM cells) AS features
    CROSS JOIN generate_series((SELECT MIN(hour) FROM cells), $until - interval '1 hour',
        interval '1 hour') AS hour
    LEFT JOIN cells USING (feature, hour) GROUP BY 1, 2
), smooth AS (
    SELECT feature, hour, AVG(n) OVER near AS n, AVG(i) OVER near AS i, AVG(o) OVER near AS o,
        AVG(usd) OVER near AS usd
    FROM grid WHERE hour < $started
    WINDOW near AS (PARTITION BY feature ORDER BY hour
        ROWS BETWEEN $neighbours PRECEDING AND $neighbours FOLLOWING)
), expected AS (
    SELECT g.feature, g.hour, PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.n) AS n,
        PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.i) AS i,
        PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.o) AS o,
        PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.usd) AS usd
    FROM grid AS g LEFT JOIN smooth AS s ON s.feature = g.feature
        AND MOD(EXTRACT(epoch FROM g.hour - s.hour), 86400) = 0
    WHERE g.hour >= $started GROUP BY 1, 2
), states AS (
    SELECT feature, 0 AS spike, SUM(n) AS n, SUM(i) AS i, SUM(o) AS o, SUM(usd) AS usd
    FROM expected GROUP BY 1
    UNION ALL
    SELECT feature, 1, SUM(n), SUM(i), SUM(o), SUM(usd) FROM grid WHERE hour >= $started GROUP BY 1
), priced AS (  -- the tokens at the prices, held to what they cost
    SELECT feature, spike, n, i, o, price_in * i * price AS usd_in, price_out * o * price AS usd_out
    FROM states LEFT JOIN prices USING (feature)
    CROSS JOIN LATERAL (
        SELECT COALESCE(usd / NULLIF(price_in * i + price_out * o, 0), 0)) AS p (price)
    WHERE n > 0
), scaled AS (  -- before: to what all hours should have cost
    SELECT feature, spike, n * f AS n, i * f AS i, o * f AS o, usd_in * f AS usd_in,
        usd_out * f AS usd_out
    FROM priced CROSS JOIN LATERAL (SELECT CASE WHEN spike = 1 THEN 1 ELSE
        (SELECT SUM(normal) FROM usual)
        / (SELECT NULLIF(SUM(usd_in + usd_out), 0) FROM priced WHERE spike = 0) END) AS s (f)
    WHERE f > 0
), growth AS (
    SELECT LN(SUM(n) FILTER (WHERE spike = 1) / SUM(n) FILTER (WHERE spike = 0)) AS more FROM scaled
), flows AS (
    SELECT kind, COALESCE(a.n, 0) AS n1, COALESCE(b.n, 0) AS n0,
        COALESCE(CASE kind WHEN 'input_tokens' THEN a.i ELSE a.o END, 0) AS t1,
        COALESCE(CASE kind WHEN 'input_tokens' THEN b.i ELSE b.o END, 0) AS t0,
        COALESCE(CASE kind WHEN 'input_tokens' THEN a.usd_in ELSE a.usd_out END, 0) AS x1,
        COALESCE(CASE kind WHEN 'input_tokens' THEN b.usd_in ELSE b.usd_out END, 0) AS x0
    FROM (SELECT * FROM scaled WHERE spike = 1) AS a
    FULL JOIN (SELECT * FROM scaled WHERE spike = 0) AS b USING (feature)
    CROSS JOIN (VALUES ('input_tokens'), ('output_tokens')) AS kinds (kind)
), weighed AS (
    SELECT *, LEAST(n1, n0, t1, t0, x1, x0) > 0 AS shared, CASE
        WHEN LEAST(n1, n0, t1, t0, x1, x0) <= 0 THEN 0
        WHEN ABS(x1 / x0 - 1) < 1e-9 THEN (x1 + x0) / 2 ELSE (x1 - x0) / LN(x1 / x0) END AS weight
    FROM flows
), parts AS (
    SELECT part, usd FROM weighed CROSS JOIN growth CROSS JOIN LATERAL (
        SELECT 'mix' AS part, x1 - x0 AS usd WHERE NOT shared
        UNION ALL SELECT 'requests', weight * more WHERE shared
        UNION ALL SELECT 'mix', weight * (LN(n1 / n0) - more) WHERE shared
        UNION ALL SELECT kind, weight * (LN(t1 / t0) - LN(n1 / n0)) WHERE shared
        UNION ALL SELECT 'price', x1 - x0 - weight * LN(t1 / t0) WHERE shared) AS p
)
SELECT part, SUM(usd) AS usd FROM parts GROUP BY part ORDER BY usd DESC;"""
HIDDEN = """\
WITH per_trigger AS (
    SELECT trigger_type, hour >= $started AS spike, SUM(requests) AS requests, SUM(cost_usd) AS cost
    FROM inference_hours WHERE hour >= $first AND hour < $until$and_feature
    GROUP BY 1, 2
)
SELECT COALESCE(trigger_type, 'all three') AS trigger_type,
    SUM(requests) FILTER (WHERE NOT spike)
        / (SELECT SUM(requests) FROM per_trigger WHERE NOT spike) AS share_before,
    SUM(requests) FILTER (WHERE spike)
        / (SELECT SUM(requests) FROM per_trigger WHERE spike) AS share_in_the_spike,
    SUM(cost) FILTER (WHERE spike) AS cost_in_the_spike
FROM per_trigger WHERE trigger_type IN ('undo', 'retry', 'auto_save')
GROUP BY ROLLUP (trigger_type) ORDER BY share_in_the_spike DESC NULLS LAST;"""
# The triage keeps tokens in powers of two, and so has no exact percentile; this is its estimate.
TOKENS = """\
WITH per_side AS (
    SELECT hour >= $started AS spike, SUM(requests) AS requests,
        SUM(input_tokens) / SUM(requests) AS avg_input,
        SUM(output_tokens) / SUM(requests) AS avg_output
    FROM inference_hours WHERE hour >= $first AND hour < $until$and_feature
    GROUP BY 1
), buckets AS (
    SELECT kind, hour >= $started AS spike, (place - 1)::int AS bucket, SUM(many) AS many
    FROM inference_hours
    CROSS JOIN LATERAL (VALUES ('input', input_buckets), ('output', output_buckets))
        AS b (kind, counts)
    CROSS JOIN LATERAL unnest(counts) WITH ORDINALITY AS u (many, place)
    WHERE hour >= $first AND hour < $until$and_feature
    GROUP BY 1, 2, 3 HAVING SUM(many) > 0
), summed AS (
    SELECT *, SUM(many) OVER (PARTITION BY kind, spike ORDER BY bucket) - many AS below,
        0.95 * SUM(many) OVER (PARTITION BY kind, spike) AS wanted,
        CASE bucket WHEN 0 THEN 0 ELSE 2.0 ^ (bucket - 1) END AS low, 2.0 ^ bucket - 1 AS high
    FROM buckets
), p95 AS (
    SELECT DISTINCT ON (kind, spike) kind, spike,
        low + (high - low) * GREATEST(0, wanted - below) / many AS tokens
    FROM summed WHERE below + many >= wanted ORDER BY kind, spike, bucket
), sessions AS (
    SELECT created_at >= $started AS spike,
        (ARRAY_AGG(input_tokens ORDER BY created_at))[1] AS first_tokens,
        (ARRAY_AGG(input_tokens ORDER BY created_at DESC))[1] AS last_tokens
    FROM inference_events
    WHERE $compared_hours
        AND session_id <> ''$and_feature
    GROUP BY 1, session_id HAVING COUNT(*) >= 3
)
SELECT CASE WHEN spike THEN 'in the spike' ELSE 'before' END AS "when", requests, avg_input,
    (SELECT tokens FROM p95 WHERE kind = 'input' AND p95.spike = per_side.spike) AS p95_input,
    avg_output,
    (SELECT tokens FROM p95 WHERE kind = 'output' AND p95.spike = per_side.spike) AS p95_output,
    (SELECT COALESCE(AVG(last_tokens::float8 / first_tokens), 0) FROM sessions
        WHERE sessions.spike = per_side.spike AND first_tokens > 0) AS last_to_first_of_a_session
FROM per_side ORDER BY spike;"""
# Features and models by the sums of all hours; who it was by the events of the spike's first day at
# most, against the same hours of the day before, and to the change of those. Dollars an hour.
ATTRIBUTION = """\
WITH sums AS (
    SELECT CASE WHEN GROUPING(feature, model) = 3 THEN 'all'
            WHEN GROUPING(feature) = 0 THEN 'feature' ELSE 'model' END AS dimension,
        CASE WHEN GROUPING(feature) = 0 THEN feature ELSE model END AS name,
        COALESCE(SUM(cost_usd) FILTER (WHERE hour < $started), 0) / (SELECT NULLIF(
            EXTRACT(epoch FROM $started - MIN(hour)) / 3600, 0) FROM inference_hours
            WHERE hour >= $first AND hour < $until) AS before,
        COALESCE(SUM(cost_usd) FILTER (WHERE hour >= $started), 0) / $hours AS in_the_spike
    FROM inference_hours WHERE hour >= $first AND hour < $until
    GROUP BY GROUPING SETS ((), (feature), (model))
), who AS (
    SELECT CASE WHEN GROUPING(user_id) = 0 THEN 'user' WHEN GROUPING(agent_name) = 0 THEN 'agent'
            WHEN GROUPING(wo_id) = 0 THEN 'work_order'
            WHEN GROUPING(session_id) = 0 THEN 'session' ELSE 'user_agent' END AS dimension,
        COALESCE(user_id, agent_name, wo_id, session_id, user_agent) AS name,
        COALESCE(SUM(cost_usd) FILTER (WHERE created_at < $started), 0) / $compared AS before,
        COALESCE(SUM(cost_usd) FILTER (WHERE created_at >= $started), 0) / $compared AS in_the_spike
    FROM inference_events
    WHERE $compared_hours$and_feature
    GROUP BY GROUPING SETS ((user_id), (agent_name), (wo_id), (session_id), (user_agent))
), who_all AS (
    SELECT COALESCE(SUM(cost_usd) FILTER (WHERE created_at < $started), 0) / $compared AS before,
        COALESCE(SUM(cost_usd) FILTER (WHERE created_at >= $started), 0) / $compared AS in_the_spike
    FROM inference_events WHERE $compared_hours$and_feature
), ranked AS (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY dimension ORDER BY in_the_spike DESC, name) AS place
    FROM who WHERE name <> ''
)
SELECT per_name.dimension, per_name.name, per_name.before AS usd_an_hour_before,
    per_name.in_the_spike AS usd_an_hour_in_the_spike,
    (per_name.in_the_spike - per_name.before) / NULLIF(per_name.change, 0) AS share_of_the_change
FROM (SELECT dimension, name, before, in_the_spike,
        (SELECT in_the_spike - before FROM sums WHERE dimension = 'all') AS change
      FROM sums WHERE dimension <> 'all'
      UNION ALL
      SELECT dimension, name, before, in_the_spike,
        (SELECT in_the_spike - before FROM who_all) AS change
      FROM ranked WHERE place <= 10) AS per_name
ORDER BY per_name.dimension, share_of_the_change DESC NULLS LAST;"""
TOOLS = """\
SELECT tool_name, feature,
    SUM(failures) FILTER (WHERE hour < $started)
        / NULLIF(SUM(calls) FILTER (WHERE hour < $started), 0) AS failure_rate_before,
    SUM(failures) FILTER (WHERE hour >= $started)
        / NULLIF(SUM(calls) FILTER (WHERE hour >= $started), 0) AS failure_rate_in_the_spike,
    SUM(retry_cost_usd) FILTER (WHERE hour >= $started) AS retry_cost_in_the_spike,
    SUM(calls) FILTER (WHERE hour >= $started) AS calls_in_the_spike,
    SUM(retries) FILTER (WHERE hour >= $started) AS retries_in_the_spike
FROM tool_hours
WHERE hour < $until AND hour >= (SELECT MIN(hour) FROM inference_hours WHERE hour >= $first)
GROUP BY tool_name, feature HAVING SUM(calls) FILTER (WHERE hour >= $started) > 0
ORDER BY retry_cost_in_the_spike DESC, feature, tool_name;"""
BY_STEP = {
    "confirm": CONFIRM,
    "traffic": TRAFFIC,
    "hidden": HIDDEN,
    "tokens": TOKENS,
    "attribution": ATTRIBUTION,
    "tools": TOOLS,
}


def of(
    started_at: datetime, until: datetime, feature: str | None = None, *, weekly: bool = False
) -> Mapping[str, str]:
    """By step. `until` is not included; `feature` None: of all. `weekly`: what an hour should cost
    is compared with the same hour of the weeks before, not of the days."""
    started = started_at.replace(minute=0, second=0, microsecond=0)
    hours = max(1, int((until - started) // HOUR))
    compared, before = min(hours, DAY), started - DAY * HOUR
    names = {
        "history": moment(until - timedelta(hours=HISTORY_HOURS if weekly else CELL_HOURS)),
        "first": moment(until - timedelta(hours=CELL_HOURS)),
        "started": moment(started),
        "until": moment(until),
        "compared_hours": f"({_within(started, compared)} OR {_within(before, compared)})",
        "hours": str(hours),
        "compared": str(compared),
        "step": str(WEEK if weekly else DAY),
        "neighbours": str(NEIGHBOURS),
        "and_feature": "" if feature is None else f" AND feature = {literal(feature)}",
    }
    names["usual_hours"] = Template(HOURS).substitute(names)
    return {step: Template(query).substitute(names) for step, query in BY_STEP.items()}


def _within(begins: datetime, hours: int) -> str:
    ends = moment(begins + hours * HOUR)
    return f"created_at >= {moment(begins)} AND created_at < {ends}"


def moment(at: datetime) -> str:
    return f"timestamptz '{at.isoformat(sep=' ')}'"


def literal(text: str) -> str:
    """As PostgreSQL reads it, whatever its setting for backslashes is.

    What could mean something where the query is shown (a page, a Markdown fence) is written as the
    number of its character.
    """
    if PLAIN.fullmatch(text):
        return f"'{text}'"
    escaped = (each if PLAIN.fullmatch(each) else f"\\U{ord(each):08X}" for each in text)
    return f"E'{''.join(escaped)}'"
