-- feature.control.cost_cap_usd
SELECT cost_cap_usd FROM feature_flags WHERE feature = 'edge-feature';

-- feature.recent.runs
SELECT count(*) FROM work_order_runs, clock WHERE feature = 'edge-feature' AND started_at >= now - interval '24 hours';

-- feature.recent.usd
SELECT sum(settled + reserved) FROM spent, clock
WHERE feature = 'edge-feature' AND runs = 1 AND at >= now - interval '24 hours';

-- feature.recent.direct_calls
SELECT count(*) FROM direct_spend, clock WHERE feature = 'edge-feature' AND at >= now - interval '24 hours';

-- feature.recent.direct_usd
SELECT sum(cost_usd) FROM direct_spend, clock WHERE feature = 'edge-feature' AND at >= now - interval '24 hours';
