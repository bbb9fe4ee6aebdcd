-- ask.usage.runs
SELECT count(*) FROM work_order_runs, clock WHERE wo_id = %(wo)s AND started_at >= today;

-- ask.usage.used_usd
SELECT sum(settled + reserved) FROM spent, clock WHERE wo_id = %(wo)s AND at >= today;
