-- burn_rate.rate.minute_usd
SELECT sum(settled + reserved) FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- burn_rate.rate.hour_usd
SELECT sum(settled + reserved) FROM committed, clock
WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch');

-- burn_rate.rate.day_usd
SELECT sum(settled + reserved) FROM spent, clock WHERE at >= today;

-- burn_rate.rate.month_usd
SELECT sum(settled + reserved) FROM spent, clock WHERE at >= month;

-- burn_rate.rate.day_projected_usd
SELECT round((SELECT sum(settled + reserved) FROM spent, clock WHERE at >= today)
    + (SELECT sum(settled + reserved) FROM committed, clock
        WHERE at >= date_bin('1 minute', now - interval '60 minutes', 'epoch')) / 60
    * extract(epoch FROM today + interval '1 day' - now) / 60, 2)
FROM clock;

-- burn_rate.rate.month_projected_usd
SELECT round(sum(settled + reserved) * extract(epoch FROM (month + interval '1 month') - month)
    / extract(epoch FROM now - month), 2)
FROM spent, clock WHERE at >= month GROUP BY now, month;

-- chart.cell.value
SELECT to_char(m AT TIME ZONE 'UTC', '"US dollars a minute "YYYY-MM-DD HH24:MI'), coalesce(sum(settled + reserved), 0)
FROM clock CROSS JOIN generate_series(date_trunc('minute', now) - interval '59 minutes', now, interval '1 minute') m
LEFT JOIN committed ON date_trunc('minute', at) = m GROUP BY m;

-- chart.chart.busiest.value
SELECT 'US dollars a minute', max(usd) FROM (SELECT sum(settled + reserved) AS usd FROM committed, clock
    WHERE at >= date_trunc('minute', now) - interval '59 minutes' GROUP BY date_trunc('minute', at)) m;

-- meter.meter.used
-- Of the one that reaches it first at the pace of its last minute (within its window), else of the one that uses most.
WITH pace AS (
    SELECT s.scope, s.subject, sum(s.settled + s.reserved) AS usd FROM subjects s, clock c
    WHERE s.span = 'short' AND s.at >= date_bin('5 seconds', c.now - interval '60 seconds', 'epoch')
    GROUP BY 1, 2
), candidates AS (
    SELECT u.id, u.settled + u.held AS used, CASE WHEN u.settled + u.held >= u.amount THEN 0
        WHEN p.usd > 0 AND u."window" <> 'rolling_minute' AND (u.amount - u.settled - u.held) / p.usd * 60
            <= extract(epoch FROM CASE u."window" WHEN 'day' THEN c.today + interval '1 day'
                WHEN 'month' THEN c.month + interval '1 month' ELSE c.now + interval '1 hour' END - c.now)
            THEN (u.amount - u.settled - u.held) / p.usd * 60 END AS seconds
    FROM used u CROSS JOIN clock c LEFT JOIN pace p ON p.scope = u.scope AND p.subject = u.subject
    WHERE u.measure = 'usd' AND u.amount IS NOT NULL
)
SELECT DISTINCT ON (b.id) b.id::text, coalesce(k.used, 0)
FROM budgets b LEFT JOIN candidates k ON k.id = b.id WHERE b.measure = 'usd' AND b.amount IS NOT NULL
ORDER BY b.id, k.seconds NULLS LAST, k.used DESC NULLS LAST;

-- meter.meter.limit
SELECT id::text, amount FROM budgets WHERE measure = 'usd' AND amount IS NOT NULL;
