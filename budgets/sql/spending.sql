-- Calls that a program makes by itself: advice before, spend told after. No work order is involved.

-- The day's money of all: what is settled, without `p_later`, what is reserved, and the limits that are held.
CREATE OR REPLACE FUNCTION tollgate.day_figures_v1(p_at timestamptz, p_later numeric DEFAULT 0) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('date', (p_at AT TIME ZONE 'UTC')::date,
        'spentUsd', (coalesce(k.settled_usd, 0) - p_later)::text, 'reservedUsd', coalesce(k.reserved_usd, 0)::text,
        'warningUsd', b.warning_amount::text, 'limitUsd', b.amount::text)
    FROM (VALUES (1)) one
    LEFT JOIN public.budgets b ON b.scope = 'global' AND b."window" = 'day' AND b.measure = 'usd'
    LEFT JOIN public.counters k ON k.key
        = tollgate.counter_key('global', '', 'day', tollgate.begins('day', p_at))
$$;

-- Advice: what an ask like this would be told now by everything that is shared. Nothing is written,
-- nothing is reserved.
CREATE OR REPLACE FUNCTION tollgate.check_run_v1(
    p_digest bytea, p_address inet, p_estimate numeric, p_tokens bigint, p_priced boolean,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    answer tollgate.answer;
    told tollgate.answer;
    at timestamptz;
    facts tollgate.facts;
    killed public.kill_switches;
    tripped public.circuit_breakers[];
    way tollgate.charge;
    surface_name text;
    feature_name text;
BEGIN
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start}', '*');
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    IF p_book_version <> (SELECT version FROM public.price_book_version) THEN
        RETURN tollgate.refusal(0, 'stale_prices', (SELECT version::text FROM public.price_book_version));
    END IF;
    surface_name := coalesce(nullif(b.surface, ''), p_surface);
    feature_name := coalesce(nullif(b.feature, ''), p_feature);
    facts := tollgate.facts_of('', p_agent, p_user, surface_name, feature_name, p_model, '', '',
        'llm_api', host(p_address), NULL, NULL);
    at := tollgate.now();
    killed := tollgate.kill_switch(surface_name, p_user, p_agent, b.lineage);
    tripped := tollgate.open_breakers('');
    SELECT * INTO way FROM tollgate.charges(facts, at, true) c
    WHERE c.stage < 99 AND c.win <> 'open' AND (c.used >= c.amount
        OR c.used + tollgate.measured(c.measure, coalesce(p_estimate, 0), coalesce(p_tokens, 0))
            > c.amount)
    ORDER BY c.stage, c.budget_id LIMIT 1;
    IF killed.id IS NOT NULL THEN
        told := tollgate.killed(killed);
    ELSIF tripped IS NOT NULL THEN
        told := tollgate.refusal(503, 'breaker_open', 'the circuit breaker is open',
            least(tollgate.seconds_until(tripped[1].half_open_at, at), tripped[1].open_seconds),
            least(tripped[1].half_open_at, at + make_interval(secs => tripped[1].open_seconds)));
    ELSIF (SELECT NOT f.enabled FROM public.feature_flags f WHERE f.feature = feature_name) THEN
        told := tollgate.refusal(403, 'feature_off', 'feature ' || feature_name || ' is switched off');
    ELSIF way.stage = 15 THEN
        told := tollgate.refusal(503, 'breaker_open', 'the circuit breaker would open');
    ELSIF way.stage IS NOT NULL THEN
        told := tollgate.limit_refusal(way, at, NULL);
    ELSIF p_estimate IS NULL AND NOT p_priced THEN
        told := tollgate.refusal(422, 'unpriced_model',
            'the model has no price: give estimatedCostUsd, or have a price entered');
    END IF;
    answer.status := 200;
    answer.denial := '';
    answer.replayed := false;
    answer.alerted := false;
    answer.body := json_build_object('allowed', told.denial IS NULL, 'denial', told.denial,
        'reason', told.error, 'retryAfterSeconds', told.retry_after,
        'resetAt', tollgate.rfc3339(told.reset_at), 'estimatedUsd', tollgate.usd(p_estimate),
        'day', tollgate.day_figures_v1(at))::text;
    RETURN answer;
END $$;

-- What a call cost. It was spent: recorded over any limit, once for each Idempotency-Key.
CREATE OR REPLACE FUNCTION tollgate.spend_run_v1(
    p_digest bytea, p_address inet, p_cost numeric, p_tokens bigint, p_usage jsonb,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    p_key text, p_fingerprint bytea, p_request_id text, p_sent_as jsonb
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    answer tollgate.answer;
    stored public.idempotency_records;
    at timestamptz;
    facts tollgate.facts;
    ids bigint[];
    crosses boolean;
    before_id bigint;
    spend_id uuid;
    surface_name text;
    feature_name text;
BEGIN
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start}', '*');
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    IF p_book_version <> (SELECT version FROM public.price_book_version) THEN
        RETURN tollgate.refusal(0, 'stale_prices', (SELECT version::text FROM public.price_book_version));
    END IF;
    IF p_cost IS NULL THEN
        RETURN tollgate.refusal(422, 'unpriced_model',
            'this usage has no price: give costUsd, or have a price entered');
    END IF;
    -- The lock of all serialises duplicates too.
    PERFORM tollgate.hold_counters();
    at := tollgate.now();
    IF p_key <> '' THEN
        SELECT * INTO stored FROM public.idempotency_records i
        WHERE i.token_id = b.lineage AND i.endpoint = 'spend' AND i.key = p_key
            AND i.created_at > at - interval '48 hours';
        IF FOUND THEN
            IF stored.fingerprint <> p_fingerprint THEN
                RETURN tollgate.refusal(422, 'idempotency_key',
                    'this Idempotency-Key was used for another request');
            END IF;
            answer.status := 200;
            answer.denial := '';
            answer.replayed := true;
            PERFORM tollgate.confirm_commit();
            answer.alerted := false;
            answer.body := stored.answer->>'body';
            RETURN answer;
        END IF;
    END IF;
    IF p_cost > b.max_run_usd AND NOT 'admin' = ANY (b.scopes) THEN
        answer := tollgate.refusal(403, 'cost_ceiling', format(
            'this token may report up to $%s a call: a token of scope admin reports it',
            tollgate.usd(b.max_run_usd)));
        answer.alerted := tollgate.alert_cost('direct_spend', NULL, p_agent, p_cost, NULL, b.token_id, true, at);
        RETURN answer;
    END IF;
    surface_name := coalesce(nullif(b.surface, ''), p_surface);
    feature_name := coalesce(nullif(b.feature, ''), p_feature);
    facts := tollgate.facts_of('', p_agent, p_user, surface_name, feature_name, p_model, '', '',
        'llm_api', host(p_address), NULL, NULL);
    INSERT INTO public.counters (key, scope, subject, "window", starts_at)
    SELECT tollgate.counter_key('global', '', 'day', d), 'global', '', 'day', d
    FROM (SELECT tollgate.begins('day', at) AS d) v ON CONFLICT DO NOTHING;
    ids := tollgate.present_counters(facts, at, false);
    SELECT bool_or(tollgate.crosses(c, tollgate.measured(c.measure, p_cost, p_tokens))) INTO crosses
    FROM tollgate.charges(facts, at, false) c WHERE c.win <> 'open';
    UPDATE public.counters SET runs = runs + 1, settled_usd = settled_usd + p_cost,
        settled_tokens = settled_tokens + p_tokens
    WHERE id = ANY (ids)
        OR key = tollgate.counter_key('global', '', 'day', tollgate.begins('day', at));
    spend_id := tollgate.uuid7(at);
    INSERT INTO public.direct_spend (id, at, cost_usd, tokens, model, usage, user_id, surface, feature,
        agent_name, source_ip, token_id, sent_as)
    VALUES (spend_id, at, p_cost, p_tokens, p_model, p_usage, p_user, surface_name, feature_name,
        p_agent, p_address, b.token_id, p_sent_as);
    IF p_usage IS NOT NULL THEN
        PERFORM tollgate.record_usage(ARRAY[row(spend_id, 'spend', at, p_usage, p_cost, true, NULL, '', p_agent,
            p_user, surface_name, feature_name)::tollgate.used]);
    END IF;
    INSERT INTO public.operations_events (kind, message, owner_type, owner_id, actor, meta, request_id)
    VALUES ('LLM_SPEND', format('$%s spent%s', tollgate.usd(p_cost),
            coalesce(' on ' || nullif(p_model, ''), '')), 'direct_spend', spend_id::text, b.actor,
        jsonb_build_object('spendId', spend_id, 'costUsd', tollgate.usd(p_cost), 'tokens', p_tokens,
            'model', nullif(p_model, ''), 'userId', nullif(p_user, ''),
            'surface', nullif(surface_name, ''), 'feature', nullif(feature_name, ''),
            'sourceIp', host(p_address), 'tokenName', b.token_name), p_request_id);
    before_id := (SELECT max(id) FROM public.alerts);
    IF crosses THEN
        PERFORM tollgate.alert_charges(facts, at);
    END IF;
    PERFORM tollgate.trip_if_over(facts, at);
    PERFORM tollgate.alert_cost('direct_spend', spend_id, p_agent, p_cost, NULL, b.token_id, false, at);
    answer.status := 200;
    answer.denial := '';
    answer.replayed := false;
    answer.settled_usd := p_cost;
    answer.alerted := (SELECT max(id) FROM public.alerts) IS DISTINCT FROM before_id;
    answer.body := json_build_object('spendId', spend_id, 'costUsd', tollgate.usd(p_cost),
        'day', tollgate.day_figures_v1(at))::text;
    IF p_key <> '' THEN
        INSERT INTO public.idempotency_records (token_id, endpoint, key, fingerprint, answer, created_at)
        VALUES (b.lineage, 'spend', p_key, p_fingerprint,
            jsonb_build_object('body', answer.body), at)
        ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
            answer = excluded.answer, created_at = excluded.created_at;
    END IF;
    RETURN answer;
END $$;

CREATE OR REPLACE PROCEDURE tollgate.check_v1(
    p_digest bytea, p_address inet, p_estimate numeric, p_tokens bigint, p_priced boolean,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate.check_run_v1(p_digest, p_address, p_estimate, p_tokens, p_priced, p_book_version,
        p_model, p_user, p_surface, p_feature, p_agent) a;
END $$;

CREATE OR REPLACE PROCEDURE tollgate.spend_v1(
    p_digest bytea, p_address inet, p_cost numeric, p_tokens bigint, p_usage jsonb,
    p_book_version bigint, p_model text, p_user text, p_surface text, p_feature text, p_agent text,
    p_key text, p_fingerprint bytea, p_request_id text, p_sent_as jsonb,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate.spend_run_v1(p_digest, p_address, p_cost, p_tokens, p_usage, p_book_version, p_model,
        p_user, p_surface, p_feature, p_agent, p_key, p_fingerprint, p_request_id, p_sent_as) a;
    CALL tollgate.commit(status = 200 OR alerted);
END $$;
