-- Calls that a program makes by itself: advice before, spend told after. No work order is involved.

-- The day's money of all: what is settled, what is reserved, and the limits that are held.
CREATE FUNCTION tollgate_day_figures(p_at timestamptz) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('date', (p_at AT TIME ZONE 'UTC')::date,
        'spentUsd', coalesce(k.settled_usd, 0)::text, 'reservedUsd', coalesce(k.reserved_usd, 0)::text,
        'warningUsd', b.warning_amount::text, 'limitUsd', b.amount::text)
    FROM (VALUES (1)) one
    LEFT JOIN budgets b ON b.scope = 'global' AND b."window" = 'day' AND b.measure = 'usd'
    LEFT JOIN counters k ON k.key
        = tollgate_counter_key('global', '', 'day', tollgate_begins('day', p_at))
$$;

-- Advice: what an ask like this would be told now by everything that is shared. Nothing is written,
-- nothing is reserved.
CREATE FUNCTION tollgate_check_run(
    p_digest bytea, p_address inet, p_estimate numeric, p_tokens bigint, p_priced boolean,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text
) RETURNS tollgate_answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate_bearer;
    answer tollgate_answer;
    told tollgate_answer;
    at timestamptz;
    facts tollgate_facts;
    killed kill_switches;
    tripped circuit_breakers[];
    way tollgate_charge;
    surface_name text;
    feature_name text;
BEGIN
    SELECT * INTO b FROM tollgate_bearer(p_digest, p_address, '{start}', '*');
    IF b.refusal <> '' THEN
        RETURN tollgate_token_refusal(b.refusal);
    END IF;
    IF p_book_version <> (SELECT version FROM price_book_version) THEN
        RETURN tollgate_refusal(0, 'stale_prices', (SELECT version::text FROM price_book_version));
    END IF;
    surface_name := coalesce(nullif(b.surface, ''), p_surface);
    feature_name := coalesce(nullif(b.feature, ''), p_feature);
    facts := tollgate_facts_of('', p_agent, p_user, surface_name, feature_name, p_model, '', '',
        'llm_api', host(p_address), NULL, NULL);
    at := tollgate_now();
    killed := tollgate_kill_switch(surface_name, p_user, p_agent, b.prefix);
    tripped := tollgate_open_breakers('');
    SELECT * INTO way FROM tollgate_charges(facts, at, true) c
    WHERE c.stage < 99 AND c.win <> 'open' AND (c.used >= c.amount
        OR c.used + tollgate_measured(c.measure, coalesce(p_estimate, 0), coalesce(p_tokens, 0))
            > c.amount)
    ORDER BY c.stage, c.budget_id LIMIT 1;
    IF killed.id IS NOT NULL THEN
        told := tollgate_killed(killed);
    ELSIF tripped IS NOT NULL THEN
        told := tollgate_refusal(503, 'breaker_open', 'the circuit breaker is open',
            greatest(1, ceil(extract(epoch FROM tripped[1].half_open_at - at)))::integer,
            tripped[1].half_open_at);
    ELSIF (SELECT NOT f.enabled FROM feature_flags f WHERE f.feature = feature_name) THEN
        told := tollgate_refusal(403, 'feature_off', 'feature ' || feature_name || ' is switched off');
    ELSIF way.stage = 15 THEN
        told := tollgate_refusal(503, 'breaker_open', 'the circuit breaker would open');
    ELSIF way.stage IS NOT NULL THEN
        told := tollgate_limit_refusal(way, at, NULL);
    ELSIF p_estimate IS NULL AND NOT p_priced THEN
        told := tollgate_refusal(422, 'unpriced_model',
            'the model has no price: give estimatedCostUsd, or have a price entered');
    END IF;
    answer.status := 200;
    answer.denial := '';
    answer.replayed := false;
    answer.alerted := false;
    answer.body := json_build_object('allowed', told.denial IS NULL, 'denial', told.denial,
        'reason', told.error, 'retryAfterSeconds', told.retry_after,
        'resetAt', tollgate_rfc3339(told.reset_at), 'estimatedUsd', tollgate_usd(p_estimate),
        'day', tollgate_day_figures(at))::text;
    RETURN answer;
END $$;

-- What a call cost. It was spent: recorded over any limit, once for each Idempotency-Key.
CREATE FUNCTION tollgate_spend_run(
    p_digest bytea, p_address inet, p_cost numeric, p_tokens bigint, p_usage jsonb,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    p_key text, p_fingerprint bytea, p_request_id text
) RETURNS tollgate_answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate_bearer;
    answer tollgate_answer;
    stored idempotency_records;
    at timestamptz;
    facts tollgate_facts;
    ids bigint[];
    crosses boolean;
    before_id bigint;
    spend_id uuid;
    surface_name text;
    feature_name text;
BEGIN
    SELECT * INTO b FROM tollgate_bearer(p_digest, p_address, '{start}', '*');
    IF b.refusal <> '' THEN
        RETURN tollgate_token_refusal(b.refusal);
    END IF;
    IF p_book_version <> (SELECT version FROM price_book_version) THEN
        RETURN tollgate_refusal(0, 'stale_prices', (SELECT version::text FROM price_book_version));
    END IF;
    IF p_cost IS NULL THEN
        RETURN tollgate_refusal(422, 'unpriced_model',
            'the model has no price: give costUsd, or have a price entered');
    END IF;
    -- The lock of all serialises duplicates too.
    PERFORM tollgate_hold_counters();
    at := tollgate_now();
    IF p_key <> '' THEN
        SELECT * INTO stored FROM idempotency_records i
        WHERE i.token_id = b.token_id AND i.endpoint = 'spend' AND i.key = p_key
            AND i.created_at > at - interval '48 hours';
        IF FOUND THEN
            IF stored.fingerprint <> p_fingerprint THEN
                RETURN tollgate_refusal(422, 'idempotency_key',
                    'this Idempotency-Key was used for another request');
            END IF;
            answer.status := 200;
            answer.denial := '';
            answer.replayed := true;
            answer.alerted := false;
            answer.body := stored.answer->>'body';
            RETURN answer;
        END IF;
    END IF;
    surface_name := coalesce(nullif(b.surface, ''), p_surface);
    feature_name := coalesce(nullif(b.feature, ''), p_feature);
    facts := tollgate_facts_of('', p_agent, p_user, surface_name, feature_name, p_model, '', '',
        'llm_api', host(p_address), NULL, NULL);
    INSERT INTO counters (key, scope, subject, "window", starts_at)
    SELECT tollgate_counter_key('global', '', 'day', d), 'global', '', 'day', d
    FROM (SELECT tollgate_begins('day', at) AS d) v ON CONFLICT DO NOTHING;
    ids := tollgate_present_counters(facts, at, false);
    SELECT bool_or(tollgate_crosses(c, tollgate_measured(c.measure, p_cost, p_tokens))) INTO crosses
    FROM tollgate_charges(facts, at, false) c WHERE c.win <> 'open';
    UPDATE counters SET runs = runs + 1, settled_usd = settled_usd + p_cost,
        settled_tokens = settled_tokens + p_tokens
    WHERE id = ANY (ids)
        OR key = tollgate_counter_key('global', '', 'day', tollgate_begins('day', at));
    spend_id := tollgate_uuid7(at);
    INSERT INTO direct_spend (id, at, cost_usd, tokens, model, usage, user_id, surface, feature,
        agent_name, source_ip, token_id)
    VALUES (spend_id, at, p_cost, p_tokens, p_model, p_usage, p_user, surface_name, feature_name,
        p_agent, p_address, b.token_id);
    IF p_usage IS NOT NULL THEN
        INSERT INTO inference_events (event_id, created_at, source, agent_name, user_id, surface,
            feature, model, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,
            cost_usd)
        VALUES (spend_id::text, at, 'spend', p_agent, p_user, surface_name, feature_name, p_model,
            (p_usage->>'inputTokens')::bigint, (p_usage->>'cachedInputTokens')::bigint,
            (p_usage->>'outputTokens')::bigint, (p_usage->>'reasoningTokens')::bigint, p_cost)
        ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO operations_events (kind, message, owner_type, owner_id, actor, meta, request_id)
    VALUES ('LLM_SPEND', format('$%s spent%s', tollgate_usd(p_cost),
            coalesce(' on ' || nullif(p_model, ''), '')), 'direct_spend', spend_id::text, b.actor,
        jsonb_build_object('spendId', spend_id, 'costUsd', tollgate_usd(p_cost), 'tokens', p_tokens,
            'model', nullif(p_model, ''), 'userId', nullif(p_user, ''),
            'surface', nullif(surface_name, ''), 'feature', nullif(feature_name, ''),
            'sourceIp', host(p_address), 'tokenName', b.token_name), p_request_id);
    before_id := (SELECT max(id) FROM alerts);
    IF crosses THEN
        PERFORM tollgate_alert_charges(facts, at);
    END IF;
    PERFORM tollgate_trip_if_over(facts, at);
    answer.status := 200;
    answer.denial := '';
    answer.replayed := false;
    answer.settled_usd := p_cost;
    answer.alerted := (SELECT max(id) FROM alerts) IS DISTINCT FROM before_id;
    answer.body := json_build_object('spendId', spend_id, 'costUsd', tollgate_usd(p_cost),
        'day', tollgate_day_figures(at))::text;
    IF p_key <> '' THEN
        INSERT INTO idempotency_records (token_id, endpoint, key, fingerprint, answer, created_at)
        VALUES (b.token_id, 'spend', p_key, p_fingerprint,
            jsonb_build_object('body', answer.body), at)
        ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
            answer = excluded.answer, created_at = excluded.created_at;
    END IF;
    RETURN answer;
END $$;

CREATE PROCEDURE tollgate_check(
    p_digest bytea, p_address inet, p_estimate numeric, p_tokens bigint, p_priced boolean,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate_check_run(p_digest, p_address, p_estimate, p_tokens, p_priced, p_book_version,
        p_model, p_user, p_surface, p_feature, p_agent) a;
END $$;

CREATE PROCEDURE tollgate_spend(
    p_digest bytea, p_address inet, p_cost numeric, p_tokens bigint, p_usage jsonb,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    p_key text, p_fingerprint bytea, p_request_id text,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate_spend_run(p_digest, p_address, p_cost, p_tokens, p_usage, p_book_version, p_model,
        p_user, p_surface, p_feature, p_agent, p_key, p_fingerprint, p_request_id) a;
    CALL tollgate_commit(status = 200);
END $$;
