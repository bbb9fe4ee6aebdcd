-- chart.cell.value
SELECT to_char(hour AT TIME ZONE 'UTC', '"US dollars an hour, all features "YYYY-MM-DD HH24:MI" cost"'), coalesce(sum(usd), 0) FROM calls GROUP BY hour;

-- incident.incident.excess_usd_per_hour
SELECT cost_usd_per_hour - baseline_usd_per_hour FROM incidents;

-- incident_bars.incident.excess_usd_per_hour
SELECT cost_usd_per_hour - baseline_usd_per_hour FROM incidents;

-- incident.incident.cost_usd_per_hour
SELECT round(coalesce(sum(usd), 0) / count(DISTINCT c.hour), 6) FROM calls c, incidents i
WHERE c.hour >= i.started_at AND c.hour < i.judged_until;

-- incident.incident.baseline_usd_per_hour
SELECT baseline_usd_per_hour FROM incidents;

-- incident.incident.excess_usd_of_all_phases
SELECT excess_usd_total + coalesce((SELECT sum((p->>'excessUsd')::numeric) FROM jsonb_array_elements(earlier) p), 0)
FROM incidents;

-- incident.incident.confidence
SELECT confidence FROM incidents;
