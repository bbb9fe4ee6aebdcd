-- evidence.evidence.today.usd
SELECT coalesce(sum(settled + reserved), 0) FROM spent, clock WHERE wo_id = %(wo)s AND at >= today;

-- evidence.evidence.today.runs
SELECT count(*) FROM work_order_runs, clock WHERE wo_id = %(wo)s AND started_at >= today;

-- evidence.evidence.costs.runs
SELECT count(*) FROM month_runs;

-- evidence.evidence.costs.ended
SELECT count(*) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.errors
SELECT count(*) FROM month_runs WHERE status = 'error';

-- evidence.evidence.costs.error_rate
SELECT round(count(*) FILTER (WHERE status = 'error')::numeric / count(*), 12) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.average_usd
SELECT round(sum(cost) / count(*), 9) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.max_usd
SELECT max(cost) FROM month_runs WHERE finished_at IS NOT NULL;

-- evidence.evidence.costs.p95_usd
SELECT round(pg_temp.interpolated(array_agg(cost), 0.95), 9) FROM sampled;

-- evidence.evidence.calibration.sampled
SELECT count(*) FROM sampled;

-- evidence.evidence.calibration.ratio
SELECT sum(cost) / sum(reserved_usd) FROM sampled;

-- evidence.evidence.calibration.ratio_p95
SELECT pg_temp.interpolated(array_agg(cost / nullif(reserved_usd, 0)), 0.95) FROM sampled;

-- evidence.evidence.calibration.overruns
SELECT count(*) FROM month_runs WHERE status IN ('success', 'error', 'cancelled') AND cost > reserved_usd;

-- evidence.evidence.calibration.overrun_usd
SELECT coalesce(sum(cost - reserved_usd), 0) FROM month_runs
WHERE status IN ('success', 'error', 'cancelled') AND cost > reserved_usd;

-- evidence.agent.runs
SELECT agent_name, count(*) FROM month_runs GROUP BY 1;

-- evidence.agent.errors
SELECT agent_name, count(*) FILTER (WHERE status = 'error') FROM month_runs GROUP BY 1;

-- evidence.agent.unknown_runs
SELECT agent_name, count(*) FROM month_runs WHERE NOT agent_known GROUP BY 1;

-- evidence.agent.usd
SELECT agent_name, coalesce(sum(cost), 0) FROM month_runs GROUP BY 1;
