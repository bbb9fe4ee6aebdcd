-- What the first page groups by, as its address chooses it: the table's (`by`), and the chart's (`chart`).

CREATE OR REPLACE FUNCTION pg_temp.label(kind text, what text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN what = '' THEN CASE kind WHEN 'work_order' THEN 'Direct spend, no work order'
            WHEN 'token' THEN 'No token' ELSE 'No ' || kind || ' reported' END
        WHEN what = 'others' THEN what
        WHEN kind = 'work_order' THEN (SELECT o.title FROM public.work_orders o WHERE o.id = what)
        WHEN kind = 'token' THEN (SELECT t.name || ' (' || t.prefix || '…)' FROM public.service_tokens t
            WHERE t.lineage = what::bigint ORDER BY t.id DESC LIMIT 1)
        ELSE what END
$$;
CREATE OR REPLACE FUNCTION pg_temp.named(kind text, wo_id text, model text, agent text, token_id bigint, user_id text, feature text)
RETURNS text LANGUAGE sql AS $$
    SELECT CASE kind WHEN 'work_order' THEN coalesce(wo_id, '') WHEN 'model' THEN model WHEN 'agent' THEN agent
        WHEN 'user' THEN user_id WHEN 'feature' THEN feature
        ELSE coalesce((SELECT t.lineage::text FROM public.service_tokens t WHERE t.id = token_id), '') END
$$;

-- The money of the window: committed in it, or today by the start of its run.
CREATE OR REPLACE TEMP VIEW in_window AS
SELECT w.since, w.name, sum(w.settled + w.reserved) AS usd, sum(w.runs) AS runs FROM (
    SELECT s.*, c.today AS since, pg_temp.named(%(by)s, wo_id, model, agent_name, token_id, user_id, feature) AS name
    FROM spent s, clock c WHERE %(window)s = 'today' AND s.at >= c.today
    UNION ALL
    SELECT s.*, c.since, pg_temp.named(%(by)s, wo_id, model, agent_name, token_id, user_id, feature)
    FROM committed s, (SELECT CASE %(window)s WHEN '1m' THEN date_bin('5 seconds', now - interval '60 seconds', 'epoch')
        ELSE date_bin('1 minute', now - interval '60 minutes', 'epoch') END AS since FROM clock) c
    WHERE %(window)s <> 'today' AND s.at >= c.since) w
GROUP BY 1, 2 HAVING sum(w.settled + w.reserved) > 0;

CREATE OR REPLACE TEMP VIEW top AS
SELECT w.*, %(by)s || ' ' || %(window)s || ' ' || name AS of FROM in_window w ORDER BY usd DESC, name LIMIT 5;

CREATE OR REPLACE TEMP VIEW hourly AS
SELECT date_trunc('hour', at, 'UTC') AS hour, pg_temp.named(%(by)s, wo_id, model, agent_name, token_id, user_id, feature) AS name,
    sum(settled + reserved) AS usd
FROM spent GROUP BY 1, 2;

-- The same time of the last seven days that were wholly in use.
CREATE OR REPLACE FUNCTION pg_temp.usual(what text, since timestamptz, till timestamptz) RETURNS numeric LANGUAGE sql AS $$
    SELECT CASE WHEN count(*) >= 3 THEN (percentile_cont(0.5) WITHIN GROUP (ORDER BY usd))::numeric END FROM (
        SELECT d, coalesce(sum(h.usd * extract(epoch FROM least(h.hour + interval '1 hour', till - d * interval '1 day')
            - greatest(h.hour, since - d * interval '1 day')) / 3600), 0) AS usd
        FROM generate_series(1, 7) d LEFT JOIN pg_temp.hourly h ON (what IS NULL OR h.name = what)
            AND h.hour < till - d * interval '1 day' AND h.hour + interval '1 hour' > since - d * interval '1 day'
        WHERE since - d * interval '1 day' >= (SELECT min(at) FROM pg_temp.spent) GROUP BY d) x
$$;

CREATE OR REPLACE TEMP VIEW span AS
SELECT step, date_bin(step, now, 'epoch') - (many - 1) * step AS first, now, word FROM clock JOIN (VALUES
    ('1h', interval '1 minute', 60, 'a minute'), ('24h', interval '1 hour', 24, 'an hour'),
    ('7d', interval '6 hours', 28, 'in 6 hours'), ('30d', interval '1 day', 30, 'a day')) v (name, step, many, word)
    ON v.name = %(span)s;
CREATE OR REPLACE TEMP VIEW refused_span AS
SELECT step, date_bin(step, now, 'epoch') - (many - 1) * step AS first, now, word FROM clock JOIN (VALUES
    (true, interval '1 minute', 60, 'a minute'), (false, interval '1 hour', 24, 'an hour')) v (hour, step, many, word)
    ON v.hour = (%(span)s = '1h');

-- The largest five and all others, of the spend and of the refusals, by column.
CREATE OR REPLACE TEMP VIEW drawn AS
WITH rows AS (
    SELECT 'US dollars ' || word || ', by ' || replace(%(chart)s, '_', ' ') AS chart, step, first, span.now,
        date_bin(step, at, 'epoch') AS at, settled + reserved AS value,
        pg_temp.named(%(chart)s, wo_id, model, agent_name, token_id, user_id, feature) AS name
    FROM spent, span WHERE at >= first
    UNION ALL
    SELECT 'Refused asks ' || word, step, first, now, date_bin(step, at, 'epoch'), times, reason
    FROM refused, refused_span WHERE at >= first
), sums AS (
    SELECT chart, name, row_number() OVER (PARTITION BY chart ORDER BY sum(value) DESC, name) <= 5 AS shown
    FROM rows GROUP BY 1, 2
), put AS (
    SELECT r.chart, r.at, r.value, r.step, r.first, r.now, CASE WHEN s.shown THEN r.name ELSE 'others' END AS name
    FROM rows r JOIN sums s USING (chart, name)
)
SELECT g.chart, g.name, c.at, coalesce((SELECT sum(p.value) FROM put p WHERE p.chart = g.chart AND p.name = g.name
    AND p.at = c.at), 0) AS value
FROM (SELECT DISTINCT chart, name, step, first, now FROM put) g
CROSS JOIN LATERAL generate_series(g.first, g.now, g.step) c (at);
