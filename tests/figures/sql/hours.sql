-- hours.cost_usd
SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24') || ':' || feature || ':' || model || ':' || trigger_type,
    coalesce(sum(usd), 0) FROM calls GROUP BY hour, feature, model, trigger_type;
