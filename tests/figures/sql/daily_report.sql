-- daily_report.report.totals.usd
SELECT coalesce(sum(settled + reserved), 0) FROM spent WHERE wo_id IS NOT NULL
    AND (at AT TIME ZONE 'UTC')::date = %(day)s;

-- daily_report.report.totals.runs
SELECT count(*) FROM work_order_runs WHERE (started_at AT TIME ZONE 'UTC')::date = %(day)s;

-- daily_report.report.totals.direct_usd
SELECT coalesce(sum(cost_usd), 0) FROM direct_spend WHERE (at AT TIME ZONE 'UTC')::date = %(day)s;

-- daily_report.report.totals.direct_calls
SELECT count(*) FROM direct_spend WHERE (at AT TIME ZONE 'UTC')::date = %(day)s;

-- daily_report.report.totals.blocked
SELECT count(DISTINCT wo_id) FROM refused
WHERE reason IN ('runs_per_day', 'usd_per_day') AND (at AT TIME ZONE 'UTC')::date = %(day)s;

-- daily_report.report.totals.near
SELECT count(*) FROM day_rows WHERE refused = 0 AND share > 0.8;

-- daily_report.report.totals.idle
-- Of a day that is over: what a running day has not used, it may yet use.
SELECT '', count(*) FROM day_rows WHERE refused = 0 AND share < 0.1
HAVING %(day)s < (SELECT (today AT TIME ZONE 'UTC')::date FROM clock);

-- daily_report.number
SELECT '', count(*) FROM day_rows
UNION ALL SELECT 'blocked', count(*) FROM day_rows WHERE refused > 0
UNION ALL SELECT 'near', count(*) FROM day_rows WHERE refused = 0 AND share > 0.8
UNION ALL SELECT 'idle', count(*) FROM day_rows, clock WHERE refused = 0 AND share < 0.1
    AND %(day)s < (today AT TIME ZONE 'UTC')::date
HAVING %(day)s < (SELECT (today AT TIME ZONE 'UTC')::date FROM clock);

-- daily_report.row.refused
SELECT id, refused FROM day_rows WHERE refused > 0;

-- daily_report.row.runs_share
SELECT id || ' runs', runs / runs_cap FROM day_rows;

-- daily_report.row.usd_share
SELECT id || ' usd', usd / usd_cap FROM day_rows;

-- meter.meter.used
SELECT id || ' runs', runs FROM day_rows UNION ALL SELECT id || ' usd', usd FROM day_rows;

-- meter.meter.limit
SELECT id || ' runs', runs_cap FROM day_rows UNION ALL SELECT id || ' usd', usd_cap FROM day_rows;
