-- call.call.cost_usd
SELECT cost_usd FROM inference_events WHERE id = %(call)s;

-- call.call.sender_cost_usd
SELECT sender_cost_usd FROM inference_events WHERE id = %(call)s;

-- call.call.computed_cost_usd
SELECT computed_cost_usd FROM inference_events WHERE id = %(call)s;

-- call.apart
SELECT abs(sender_cost_usd - computed_cost_usd) / greatest(sender_cost_usd, computed_cost_usd)
FROM inference_events WHERE id = %(call)s;
