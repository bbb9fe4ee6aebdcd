-- forecast.unpriced
SELECT count(*) FROM calls c, clock WHERE c.unknown AND c.hour >= clock.hour - interval '7 days' AND c.hour < clock.hour;

-- outlook.outlook.spent_usd
SELECT 'Today', coalesce(sum(usd), 0) FROM calls c, clock WHERE c.hour >= today AND c.hour < clock.hour
UNION ALL
SELECT 'This month', coalesce(sum(usd), 0) FROM calls c, clock WHERE c.hour >= month AND c.hour < clock.hour;

-- chart.cell.value
-- What has passed; a forecast has tests of its own.
SELECT 'US dollars an hour ' || to_char(h AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), coalesce(sum(usd), 0)
FROM clock CROSS JOIN generate_series(clock.hour - interval '72 hours', clock.hour - interval '1 hour', interval '1 hour') h
LEFT JOIN calls c ON c.hour = h GROUP BY h;

-- forecast.each.day_usd
SELECT kind || ':' || name, coalesce(sum(usd) FILTER (WHERE hour >= ends - interval '24 hours'), 0) FROM week_calls GROUP BY 1;

-- forecast.each.day_before_usd
SELECT kind || ':' || name, coalesce(sum(usd) FILTER (WHERE hour >= ends - interval '48 hours'
    AND hour < ends - interval '24 hours'), 0) FROM week_calls GROUP BY 1;

-- forecast.each.week_usd
SELECT kind || ':' || name, coalesce(sum(usd), 0) FROM week_calls GROUP BY 1;

-- forecast.each.week_requests
SELECT kind || ':' || name, count(*) FROM week_calls GROUP BY 1;

-- forecast.each.per_request_usd
-- Of the calls whose cost is known.
SELECT kind || ':' || name, sum(usd) / count(*) FROM week_calls WHERE NOT unknown GROUP BY 1
UNION ALL
SELECT kind || ':' || name, NULL FROM week_calls GROUP BY 1 HAVING bool_and(unknown);
