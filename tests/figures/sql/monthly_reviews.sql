-- monthly_reviews.total
SELECT r.id::text, sum(pg_temp.month_usd(k.kind, r.month::timestamp AT TIME ZONE 'UTC'))
FROM monthly_reviews r, (SELECT dimension AS kind FROM dimension_budgets UNION SELECT '') k GROUP BY r.id;
