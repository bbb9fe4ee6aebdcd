-- direct_spend.spend.cost_usd
SELECT cost_usd FROM direct_spend ORDER BY id LIMIT 1;
