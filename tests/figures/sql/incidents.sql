-- incidents.excess_usd_per_hour
SELECT id::text, cost_usd_per_hour - baseline_usd_per_hour FROM incidents;
