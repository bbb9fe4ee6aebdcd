-- cost_spike.sign.now
SELECT * FROM pg_temp.signs(24, 0);

-- cost_spike.sign.before
SELECT * FROM pg_temp.signs(48, 24);

-- cost_spike.sign.change
SELECT n.name, n.value / nullif(b.value, 0) - 1 FROM pg_temp.signs(24, 0) n JOIN pg_temp.signs(48, 24) b USING (name);

-- cost_spike.requests
SELECT feature, count(*) FROM calls c, clock WHERE c.hour >= clock.hour - interval '24 hours' AND c.hour < clock.hour
GROUP BY 1 ORDER BY coalesce(sum(usd), 0) DESC, 1 LIMIT 5;

-- cost_spike.calls
SELECT tool_name, count(*) FROM tool_day GROUP BY 1 HAVING count(*) FILTER (WHERE NOT success) > 0
ORDER BY count(*) FILTER (WHERE NOT success) DESC, 1 LIMIT 5;

-- cost_spike.failures
SELECT tool_name, count(*) FILTER (WHERE NOT success) FROM tool_day GROUP BY 1
HAVING count(*) FILTER (WHERE NOT success) > 0 ORDER BY 2 DESC, 1 LIMIT 5;

-- cost_spike.retries
SELECT tool_name, count(*) FILTER (WHERE retries > 0) FROM tool_day GROUP BY 1
HAVING count(*) FILTER (WHERE NOT success) > 0 ORDER BY count(*) FILTER (WHERE NOT success) DESC, 1 LIMIT 5;

-- cost_spike.usd
(SELECT feature, coalesce(sum(usd), 0) FROM calls c, clock
WHERE c.hour >= clock.hour - interval '24 hours' AND c.hour < clock.hour GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5);

-- cost_spike.retry_usd
(SELECT t.tool_name, coalesce((SELECT sum(e.cost_usd) FROM (
        SELECT DISTINCT a.tool_name, a.inference_event_id FROM tool_calls a
        WHERE a.retries > 0 AND a.inference_event_id <> '') again
    JOIN inference_events e ON e.event_id = again.inference_event_id, clock
    WHERE again.tool_name = t.tool_name AND e.created_at >= clock.hour - interval '24 hours' AND e.created_at < clock.hour), 0)
FROM tool_day t GROUP BY 1 HAVING count(*) FILTER (WHERE NOT success) > 0
ORDER BY count(*) FILTER (WHERE NOT success) DESC, 1 LIMIT 5);
