-- dimension_budget.months.0.1.usd
SELECT pg_temp.month_usd('network', month) FROM clock;

-- dimension_budget.figure.usd
SELECT to_char(m AT TIME ZONE 'UTC', 'YYYY-MM'), pg_temp.month_usd('network', m)
FROM clock c CROSS JOIN generate_series(c.month - interval '5 months', c.month, interval '1 month') m;
