-- limit_evidence.limit.used
SELECT settled + held FROM most_used WHERE id = %(limit)s;

-- limit_evidence.limit.refused_today
-- Of the two limits of users in dollars, this one is $2.00 for each; the other one is of one name.
SELECT sum(coalesce((meta->>'count')::integer, 1)) FROM operations_events, clock
WHERE meta->>'reason' = 'user_quota' AND (meta->>'cap')::numeric = 2 AND created_at >= today;

-- limit_evidence.limit.refused_total
SELECT sum(coalesce((meta->>'count')::integer, 1)) FROM operations_events, clock
WHERE meta->>'reason' = 'user_quota' AND (meta->>'cap')::numeric = 2 AND created_at >= today - interval '29 days';

-- chart.cell.value
SELECT 'Refused a day ' || to_char(d AT TIME ZONE 'UTC', 'YYYY-MM-DD'), coalesce(sum(coalesce((e.meta->>'count')::integer, 1))
    FILTER (WHERE e.id IS NOT NULL), 0)
FROM clock CROSS JOIN generate_series(today - interval '29 days', today, interval '1 day') d
LEFT JOIN operations_events e ON date_trunc('day', e.created_at, 'UTC') = d
    AND e.meta->>'reason' = 'user_quota' AND (e.meta->>'cap')::numeric = 2
GROUP BY d;

-- chart.chart.busiest.value
SELECT 'Refused a day', max(n) FROM (
    SELECT sum(coalesce((meta->>'count')::integer, 1)) AS n FROM operations_events, clock
    WHERE meta->>'reason' = 'user_quota' AND (meta->>'cap')::numeric = 2 AND created_at >= today - interval '29 days'
    GROUP BY date_trunc('day', created_at, 'UTC')) d;

-- change_request.line.old
SELECT '', old FROM change_lines l JOIN change_requests r ON r.id = l.request_id WHERE r.subject_type = 'budget';

-- change_request.line.new
SELECT '', new FROM change_lines l JOIN change_requests r ON r.id = l.request_id WHERE r.subject_type = 'budget';
