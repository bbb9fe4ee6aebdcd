-- What the expected figures are computed from: the rows themselves, never the counters or the sums of an hour.

CREATE TEMP VIEW clock AS
SELECT n AS now, date_trunc('day', n, 'UTC') AS today, date_trunc('hour', n, 'UTC') AS hour,
    date_trunc('month', n, 'UTC') AS month
FROM (SELECT tollgate.now() AS n) c;

-- A run with all its money at the moment it started (as a day and a month count), and direct spend.
CREATE TEMP VIEW spent AS
SELECT started_at AS at, wo_id, agent_name, user_id, feature, model, surface, host(source_ip) AS address,
    model_tier, coalesce(cost, 0) AS settled,
    CASE WHEN status = 'running' THEN reserved_usd ELSE 0 END AS reserved,
    coalesce(tokens, 0) + CASE WHEN status = 'running' THEN reserved_tokens ELSE 0 END AS tokens,
    1 AS runs, (status = 'running')::integer AS open, 0 AS calls, token_id
FROM work_order_runs
UNION ALL
SELECT at, NULL, agent_name, user_id, feature, model, surface, host(source_ip), '', cost_usd, 0, tokens,
    0, 0, 1, token_id
FROM direct_spend;

-- The same money at the moment it was committed: at the start, by an extension, by an overrun.
CREATE TEMP VIEW committed AS
SELECT r.started_at AS at, r.wo_id, r.agent_name, r.user_id, r.feature, r.model, r.surface,
    host(r.source_ip) AS address, r.model_tier,
    CASE WHEN r.status = 'running' THEN 0 ELSE r.cost - coalesce(x.settled, 0) END AS settled,
    CASE WHEN r.status = 'running' THEN r.reserved_usd - coalesce(x.reserved, 0) ELSE 0 END AS reserved,
    coalesce(r.tokens, 0) AS tokens, 1 AS runs, (r.status = 'running')::integer AS open, 0 AS calls,
    r.token_id
FROM work_order_runs r LEFT JOIN (
    SELECT run_id, sum(settled_usd) AS settled, sum(reserved_usd) AS reserved FROM run_charges GROUP BY 1
) x ON x.run_id = r.id
UNION ALL
SELECT x.at, r.wo_id, r.agent_name, r.user_id, r.feature, r.model, r.surface, host(r.source_ip),
    r.model_tier, CASE WHEN r.status = 'running' THEN 0 ELSE x.settled_usd END,
    CASE WHEN r.status = 'running' THEN x.reserved_usd ELSE 0 END, 0, 0, 0, 0, r.token_id
FROM run_charges x JOIN work_order_runs r ON r.id = x.run_id
UNION ALL
SELECT at, NULL, agent_name, user_id, feature, model, surface, host(source_ip), '', cost_usd, 0, tokens,
    0, 0, 1, token_id
FROM direct_spend;

-- Caps in force at a moment: the base, or a live grant above it.
CREATE FUNCTION pg_temp.cap(wo text, what text, at timestamptz) RETURNS numeric LANGUAGE sql AS $$
    SELECT greatest(
        coalesce((SELECT CASE what WHEN 'runs_per_day' THEN c.old_runs_per_day
                WHEN 'usd_per_day' THEN c.old_usd_per_day ELSE c.old_max_concurrent_runs END
            FROM public.cap_changes c WHERE c.wo_id = wo AND c.applied_at > at ORDER BY c.id LIMIT 1),
            (SELECT CASE what WHEN 'runs_per_day' THEN o.runs_per_day WHEN 'usd_per_day' THEN o.usd_per_day
                ELSE o.max_concurrent_runs END FROM public.work_orders o WHERE o.id = wo)),
        (SELECT max(g.value) FROM public.cap_grants g
         WHERE g.wo_id = wo AND g.measure = what AND g.starts_at <= at AND g.ends_at > at))
$$;

CREATE TEMP VIEW refused AS
SELECT id, created_at AS at, kind, owner_id AS wo_id, coalesce(nullif(meta->>'reason', ''), kind) AS reason,
    coalesce(meta->>'agentName', actor) AS agent, coalesce((meta->>'count')::integer, 1) AS times
FROM operations_events WHERE kind IN ('RATE_LIMIT_429', 'START_REFUSED', 'EXTENSION_REFUSED');

CREATE TEMP VIEW subjects AS
SELECT m.*, v.scope, v.subject FROM (
    SELECT 'long' AS span, s.* FROM spent s UNION ALL SELECT 'short', c.* FROM committed c) m
CROSS JOIN LATERAL (VALUES ('global', ''), ('surface', m.surface), ('feature', m.feature),
    ('model', m.model), ('agent', m.agent_name), ('user', m.user_id), ('address', m.address),
    ('model_tier', m.wo_id || ' / ' || nullif(m.model_tier, ''))) v (scope, subject)
WHERE v.scope = 'global' OR v.subject <> '';

-- What each subject uses of each limit now. A name with a limit of its own is not under the one for each.
CREATE TEMP VIEW used AS
SELECT b.id, b.amount, b.scope, b."window", b.measure, s.subject,
    sum(CASE b.measure WHEN 'usd' THEN s.settled WHEN 'tokens' THEN s.tokens WHEN 'runs' THEN 0
        ELSE s.runs + s.calls END) AS settled,
    sum(CASE b.measure WHEN 'usd' THEN s.reserved WHEN 'runs' THEN s.open ELSE 0 END) AS held
FROM clock c CROSS JOIN budgets b JOIN subjects s ON s.scope = b.scope
    AND s.span = CASE WHEN b."window" IN ('rolling_minute', 'minute', 'rolling_hour', 'hour')
        THEN 'short' ELSE 'long' END
    AND (b.subject IN ('', s.subject) OR b.scope = 'model_tier' AND s.subject LIKE '% / ' || b.subject
        OR b.subject = '*' AND NOT EXISTS (SELECT FROM budgets o WHERE o.scope = b.scope
            AND o."window" = b."window" AND o.measure = b.measure AND o.subject = s.subject))
    AND s.at >= CASE b."window" WHEN 'open' THEN '-infinity'
        WHEN 'rolling_minute' THEN date_bin('5 seconds', c.now - interval '60 seconds', 'epoch')
        WHEN 'rolling_hour' THEN date_bin('1 minute', c.now - interval '60 minutes', 'epoch')
        ELSE date_trunc(b."window", c.now, 'UTC') END
GROUP BY b.id, b.amount, b.scope, b."window", b.measure, s.subject;

-- Of each limit, by the one that uses most of it.
CREATE TEMP VIEW most_used AS
SELECT DISTINCT ON (b.id) b.id, b.amount, b.scope, b."window", b.measure, coalesce(u.subject, '') AS subject,
    coalesce(u.settled, 0) AS settled, coalesce(u.held, 0) AS held
FROM budgets b LEFT JOIN used u ON u.id = b.id
ORDER BY b.id, u.settled + u.held DESC NULLS LAST, u.subject;

CREATE TEMP VIEW today AS
SELECT o.id, o.status, coalesce(sum(s.runs), 0) AS runs, coalesce(sum(s.open), 0) AS open,
    coalesce(sum(s.settled), 0) AS settled, coalesce(sum(s.reserved), 0) AS reserved,
    pg_temp.cap(o.id, 'runs_per_day', c.now) AS runs_cap, pg_temp.cap(o.id, 'usd_per_day', c.now) AS usd_cap
FROM clock c CROSS JOIN work_orders o LEFT JOIN spent s ON s.wo_id = o.id AND s.at >= c.today
GROUP BY o.id, o.status, c.now;

-- Telemetry by the hour: what each call cost, unknown where nobody knows.
CREATE TEMP VIEW calls AS
SELECT date_trunc('hour', created_at, 'UTC') AS hour, feature, model, trigger_type, cost_usd AS usd,
    input_tokens, output_tokens, cost_usd IS NULL AS unknown,
    run_id IS NOT NULL OR wo_id <> '' OR source IN ('run', 'spend') AS governed
FROM inference_events;

CREATE TEMP VIEW week_calls AS
SELECT v.kind, v.name, c.hour, c.usd, c.unknown, clock.hour AS ends FROM clock, calls c
CROSS JOIN LATERAL (VALUES ('feature', c.feature), ('model', c.model), ('trigger', c.trigger_type)) v (kind, name)
WHERE c.hour >= clock.hour - interval '7 days' AND c.hour < clock.hour;

CREATE TEMP VIEW tool_day AS
SELECT t.* FROM tool_calls t, clock WHERE t.created_at >= clock.hour - interval '24 hours' AND t.created_at < clock.hour;

-- The figures of whole hours, from so many ago to so many ago. A cost that nobody knows divides nothing.
CREATE FUNCTION pg_temp.signs(since integer, until integer) RETURNS TABLE (name text, value numeric) LANGUAGE sql AS $$
    WITH summed AS (
        SELECT coalesce(sum(usd), 0) AS usd, count(*)::numeric AS n, count(*) FILTER (WHERE NOT unknown) AS known,
            count(*) FILTER (WHERE trigger_type IN ('undo', 'retry', 'auto_save')) AS hidden,
            coalesce(sum(input_tokens), 0) AS given, coalesce(sum(output_tokens), 0) AS made
        FROM pg_temp.calls c, pg_temp.clock k
        WHERE c.hour >= k.hour - make_interval(hours => since) AND c.hour < k.hour - make_interval(hours => until))
    SELECT v.name, v.value FROM summed t CROSS JOIN LATERAL (VALUES ('Cost', usd), ('Requests', n),
        ('Undo, retry and auto-save, of all requests', coalesce(hidden / nullif(n, 0), 0)),
        ('Input tokens of a request', coalesce(given / nullif(n, 0), 0)),
        ('Output tokens of a request', coalesce(made / nullif(n, 0), 0)),
        ('Cost of a request', usd / nullif(known, 0))) v (name, value)
$$;
