-- meter.meter.used
SELECT id || ' runs', runs FROM today UNION ALL SELECT id || ' usd', settled + reserved FROM today;

-- meter.meter.limit
SELECT id || ' runs', runs_cap FROM today UNION ALL SELECT id || ' usd', usd_cap FROM today;
