-- suspicious.each.times
SELECT actor || '|' || (meta->>'agentName') || '|' || (meta->>'sourceIp'), count(*) FROM operations_events, clock
WHERE kind = 'WORK_ORDER_START' AND meta->>'woId' = %(wo)s AND created_at > now - interval '24 hours' GROUP BY 1
UNION ALL
(SELECT wo_id || ':' || reason || ':' || agent, sum(times) FROM refused, clock
WHERE at >= now - interval '24 hours' GROUP BY 1 ORDER BY max(id) DESC LIMIT 10);

-- suspicious.newest
SELECT 5000;

-- suspicious.address_limit.amount
SELECT amount FROM budgets WHERE scope = 'address' AND amount IS NOT NULL;
