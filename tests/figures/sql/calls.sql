-- calls.cost_usd
SELECT id::text, cost_usd FROM inference_events WHERE cost_usd IS NOT NULL;

-- calls.sender_cost_usd
SELECT id::text, sender_cost_usd FROM inference_events;

-- calls.computed_cost_usd
SELECT id::text, computed_cost_usd FROM inference_events;
