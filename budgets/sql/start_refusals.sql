-- What an ask is answered with, and what the event of a start holds: the same whether it is decided alone
-- (admission.sql) or with others (batch_starts.sql).

-- The refusals of the checks that no shared limit makes, by the number of the check in the design.
-- `p_named`: the feature, the status of the work order, or the amount that needs a confirmation.
CREATE OR REPLACE FUNCTION tollgate.start_refusal(
    p_check integer, p_named text DEFAULT NULL, p_after integer DEFAULT NULL, p_until timestamptz DEFAULT NULL
) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.refusal(v.status, v.denial, v.error, coalesce(v.after, p_after), p_until)
    FROM (VALUES
        (2, 404, 'unknown_work_order', 'unknown work order', NULL),
        (5, 403, 'feature_off', 'feature ' || p_named || ' is switched off', NULL),
        (6, 409, 'suspended', 'work order is ' || p_named, NULL),
        (7, 403, 'unknown_agent', 'unknown agent', NULL),
        (8, 429, 'concurrency', 'concurrency limit reached', 5),
        (9, 429, 'runs_per_day', 'runs/day cap reached', NULL),
        (10, 429, 'usd_per_day', 'budget cap reached', NULL),
        (13, 422, 'unpriced_model', 'the model has no price: give estimatedCostUsd, or have a price entered', NULL),
        (14, 428, 'confirm', 'the estimate is over $' || p_named || ': send "confirm": true', NULL)
    ) AS v (check_no, status, denial, error, after)
    WHERE v.check_no = p_check
$$;

-- The refusal that a limit in the way means. `p_day_after`: seconds said for a day, by the setting.
CREATE OR REPLACE FUNCTION tollgate.limit_refusal(
    c tollgate.charge, p_at timestamptz, p_day_after integer, p_cured timestamptz DEFAULT NULL
) RETURNS tollgate.answer LANGUAGE plpgsql STABLE AS $$
DECLARE
    cured timestamptz := coalesce(p_cured, tollgate.cured_at(c, p_at));
    after integer := greatest(1, ceil(extract(epoch FROM cured - p_at)))::integer;
    answer tollgate.answer;
BEGIN
    IF c.win = 'day' THEN
        after := coalesce(p_day_after, after);
    END IF;
    answer := CASE
        WHEN c.scope = 'feature_user' THEN
            tollgate.refusal(429, 'feature_rate', 'feature rate reached', after, cured)
        WHEN c.stage = 5 AND c.used >= c.amount THEN
            tollgate.refusal(403, 'feature_off', 'feature ' || c.subject || ' is switched off')
        WHEN c.stage = 5 THEN
            tollgate.refusal(429, 'feature_rate', 'feature cost cap reached', after, cured)
        WHEN c.win = 'open' THEN
            tollgate.refusal(429, 'concurrency', 'concurrency limit reached', 5)
        WHEN c.scope = 'user' THEN tollgate.refusal(429, 'user_quota', 'quota reached', after, cured)
        WHEN c.scope = 'address' THEN tollgate.refusal(429, 'address_rate', 'quota reached', after, cured)
        ELSE tollgate.refusal(429, format('budget:%s:%s', c.scope, c.win), 'global budget reached',
            after, cured)
    END;
    answer.body := json_build_object('scope', c.scope, 'subject', c.subject)::text;
    RETURN answer;
END $$;

-- Which limit refused, for the event: null where it was none of the shared ones.
CREATE OR REPLACE FUNCTION tollgate.refused_by(answer tollgate.answer, way tollgate.charge) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN answer.body IS NOT NULL OR (answer.denial = 'breaker_open' AND way.stage = 15)
        THEN way.budget_id END
$$;

CREATE OR REPLACE FUNCTION tollgate.key_refusal() RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.refusal(422, 'idempotency_key', 'this Idempotency-Key was used for another request')
$$;

-- Records a refused start. `p_runs`, `p_usd`: what its work order had used of its day; `p_cap`: what was
-- in the way of it, if anything was.
CREATE OR REPLACE FUNCTION tollgate.refuse_start(
    p_answer tollgate.answer, p_way tollgate.charge, p_wo text, p_title text, p_agent text, p_feature text,
    p_runs bigint, p_usd numeric, p_cap text, p_estimate numeric, p_key text, p_address inet,
    p_lineage bigint, p_actor text, p_token_name text, p_request_id text, p_at timestamptz,
    p_refusal_events integer
) RETURNS void LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    place tollgate.refusal_place;       -- in the log
    refused_by bigint := tollgate.refused_by(p_answer, p_way);
BEGIN
    SELECT p.* INTO place FROM tollgate.refusal_place(p_lineage, 'start', p_wo, p_answer.denial,
        concat_ws(' ', p_answer.error, refused_by), p_at, p_refusal_events) p;
    PERFORM tollgate.record_refusal(place,
        CASE WHEN p_answer.status = 429 THEN 'RATE_LIMIT_429' ELSE 'START_REFUSED' END,
        format('%s refused: %s', p_agent, p_answer.error), p_wo, p_title, p_actor,
        jsonb_build_object('woId', p_wo, 'woTitle', p_title, 'agentName', p_agent,
            'reason', p_answer.denial, 'runsToday', p_runs, 'usdToday', tollgate.usd(p_usd),
            'cap', p_cap, 'estimatedUsd', tollgate.usd(p_estimate), 'askKey', nullif(p_key, ''),
            'sourceIp', host(p_address), 'tokenName', p_token_name)
            || jsonb_strip_nulls(jsonb_build_object('budgetId', refused_by, 'feature', nullif(p_feature, ''))),
        p_request_id, p_at, p_refusal_events);
END $$;

-- The answer to a start that was admitted; `p_runs`, `p_usd`, `p_open`: of the work order, with it.
CREATE OR REPLACE FUNCTION tollgate.start_body(
    p_run uuid, p_wo text, p_estimate numeric, p_lease_end timestamptz, p_runs_per_day integer,
    p_usd_per_day numeric, p_runs bigint, p_usd numeric, p_open bigint
) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'runId', p_run, 'workOrderId', p_wo, 'status', 'running', 'reservedUsd', tollgate.usd(p_estimate),
        'leaseExpiresAt', tollgate.rfc3339(p_lease_end),
        'caps', json_build_object('runsPerDay', p_runs_per_day, 'usdPerDay', p_usd_per_day),
        'usage', json_build_object('runsToday', p_runs, 'usdToday', tollgate.usd(p_usd),
            'openRuns', p_open))::text
$$;

-- The event of an admitted start.
CREATE OR REPLACE FUNCTION tollgate.start_meta(
    p_wo text, p_title text, p_agent text, p_agent_known boolean, p_run uuid, p_address inet,
    p_estimate numeric, p_key text, p_token_name text
) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('woId', p_wo, 'woTitle', p_title, 'agentName', p_agent,
        'agentKnown', p_agent_known, 'runId', p_run, 'sourceIp', host(p_address),
        'estimatedUsd', tollgate.usd(p_estimate), 'askKey', nullif(p_key, ''), 'tokenName', p_token_name)
$$;
