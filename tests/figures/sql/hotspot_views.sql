-- Whole days of telemetry before today: not the one on which it began, unless in its first hour.
CREATE OR REPLACE TEMP VIEW whole_days AS
SELECT date_trunc('day', c.hour, 'UTC') AS day, coalesce(sum(usd), 0) AS usd FROM calls c, clock
WHERE c.hour < clock.today AND date_trunc('day', c.hour, 'UTC') >= (SELECT min(hour) FROM calls) GROUP BY 1;

-- The cost of a request of each hour, of what has a price.
CREATE OR REPLACE TEMP VIEW means AS
SELECT sum(usd) / count(*) AS mean FROM calls c, clock WHERE NOT unknown AND c.hour < clock.today GROUP BY c.hour;

CREATE OR REPLACE FUNCTION pg_temp.month_of_telemetry(most boolean) RETURNS numeric LANGUAGE sql AS $$
    WITH months AS (
        SELECT sum(usd) AS usd FROM pg_temp.whole_days, pg_temp.clock
        WHERE day < month AND date_trunc('month', day, 'UTC') >= (SELECT min(hour) FROM pg_temp.calls)
        GROUP BY date_trunc('month', day, 'UTC')), days AS (SELECT usd * 30 AS usd FROM pg_temp.whole_days)
    SELECT CASE WHEN most THEN max(usd) ELSE min(usd) END FROM (
        SELECT usd FROM months UNION ALL SELECT usd FROM days WHERE NOT EXISTS (SELECT FROM months)) m
$$;
