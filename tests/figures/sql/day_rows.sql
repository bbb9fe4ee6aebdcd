-- The work orders of a day: what they used of the caps at its end, and how often a cap refused.
CREATE OR REPLACE TEMP VIEW day_rows AS
SELECT w.*, greatest(runs / runs_cap, usd / usd_cap) AS share FROM (
    SELECT o.id, d.day, o.status,
        (SELECT count(*) FROM work_order_runs r WHERE r.wo_id = o.id AND r.day = d.day)::numeric AS runs,
        (SELECT coalesce(sum(s.settled + s.reserved), 0) FROM spent s
         WHERE s.wo_id = o.id AND (s.at AT TIME ZONE 'UTC')::date = d.day) AS usd,
        (SELECT coalesce(sum(f.times), 0) FROM refused f WHERE f.wo_id = o.id
            AND f.reason IN ('runs_per_day', 'usd_per_day') AND (f.at AT TIME ZONE 'UTC')::date = d.day) AS refused,
        pg_temp.cap(o.id, 'runs_per_day', d.ends) AS runs_cap, pg_temp.cap(o.id, 'usd_per_day', d.ends) AS usd_cap,
        o.created_at <= d.ends AS was_there
    FROM work_orders o CROSS JOIN (
        SELECT %(day)s::date AS day, least((%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
            - interval '1 microsecond', now) AS ends FROM clock) d) w
WHERE runs > 0 OR refused > 0 OR (was_there AND status <> 'archived');
