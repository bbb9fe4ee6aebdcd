-- Admission: one call decides everything and writes everything.
--
-- Order of the checks: the table in the design, kept by the order of the blocks below. The first
-- refusal wins. A refusal is recorded and costs nothing. A dry run takes the same decision,
-- locks nothing and writes nothing.

-- What an ask would be charged to: (key, scope, subject, window, starts_at), locked in this order.
CREATE FUNCTION tollgate_charges(p_wo text, p_address inet, p_at timestamptz)
RETURNS TABLE (key text, scope text, subject text, win text, starts_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT tollgate_counter_key(v.s, v.o, v.w, v.t), v.s, v.o, v.w, v.t
    FROM (VALUES
        ('work_order', p_wo, 'open', 'epoch'::timestamptz),
        ('work_order', p_wo, 'day', date_trunc('day', p_at, 'UTC')),
        ('address', host(p_address), 'minute', date_trunc('minute', p_at)),
        ('global', '', 'open', 'epoch'),
        ('global', '', 'day', date_trunc('day', p_at, 'UTC'))) AS v (s, o, w, t)
    WHERE v.o IS NOT NULL
$$;

CREATE FUNCTION tollgate_start_run(
    p_digest bytea, p_address inet, p_wo text, p_agent text,
    p_estimate numeric,          -- dollars, told or priced; null: none was given
    p_priced boolean,            -- null: no model was named; false: the model has no price
    p_book_version bigint,       -- price book that p_estimate was priced with; null: told in dollars
    p_lease integer,             -- seconds
    p_model text, p_user text, p_surface text, p_feature text,
    p_dry_run boolean, p_confirm boolean, p_key text, p_fingerprint bytea, p_request_id text,
    p_retry_after integer,       -- seconds said for a day's cap; null: those until UTC midnight
    p_lift boolean, p_confirm_over numeric
) RETURNS tollgate_answer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    b tollgate_bearer;
    answer tollgate_answer;
    stored idempotency_records;
    w record;                    -- the work order and what else must be read after the lock
    held counters[];
    c counters;
    at timestamptz;
    day timestamptz;
    tomorrow timestamptz;
    keys text[];
    ids bigint[];
    found_keys integer;
    wo_open bigint := 0;
    wo_runs bigint := 0;
    wo_used numeric := 0;
    all_open bigint := 0;
    all_used numeric := 0;
    address_runs bigint := 0;
    estimate numeric;
    day_after integer;
    minute_after integer;
    cap text;
    reaped boolean := false;
    run_id uuid;
    lease_end timestamptz;
BEGIN
    -- 1. The token.
    b := tollgate_bearer(p_digest, p_address, '{start}', p_wo);
    IF b.refusal <> '' THEN
        RETURN tollgate_token_refusal(b.refusal);
    END IF;

    FOR attempt IN 1..20 LOOP
        -- A replay answers right after the token check. Looked at in every round: a duplicate
        -- that was admitted while this one waited is found here.
        IF p_key <> '' AND NOT p_dry_run THEN
            SELECT * INTO stored FROM idempotency_records i
            WHERE i.token_id = b.token_id AND i.endpoint = 'start' AND i.key = p_key
                AND i.created_at > tollgate_now() - interval '48 hours';
            IF FOUND THEN
                IF stored.fingerprint <> p_fingerprint THEN
                    RETURN tollgate_refusal(422, 'idempotency_key',
                        'this Idempotency-Key was used for another request');
                END IF;
                answer.status := 201;
                answer.denial := '';
                answer.replayed := true;
                answer.body := stored.answer->>'body';
                RETURN answer;
            END IF;
        END IF;

        -- 2. The work order.
        PERFORM FROM work_orders WHERE id = p_wo;
        IF NOT FOUND THEN
            RETURN tollgate_refusal(404, 'unknown_work_order', 'unknown work order');
        END IF;

        IF p_book_version IS NOT NULL
            AND p_book_version <> (SELECT version FROM price_book_version) THEN
            RETURN tollgate_refusal(0, 'stale_prices', (SELECT version::text FROM price_book_version));
        END IF;

        -- Lock first, read after.
        at := tollgate_now();
        ids := '{}';
        found_keys := 0;
        wo_open := 0; wo_runs := 0; wo_used := 0; all_open := 0; all_used := 0; address_runs := 0;
        SELECT array_agg(k.key) INTO keys FROM tollgate_charges(p_wo, p_address, at) k;
        IF p_dry_run THEN
            SELECT array_agg(k) INTO held FROM counters k WHERE k.key = ANY (keys);
        ELSE
            SELECT array_agg(q) INTO held FROM (
                SELECT k FROM counters k WHERE k.key = ANY (keys)
                ORDER BY (k.scope = 'global'), k.id FOR UPDATE) AS locked (q);
        END IF;
        FOREACH c IN ARRAY coalesce(held, '{}') LOOP
            found_keys := found_keys + 1;
            ids := ids || c.id;
            IF c.scope = 'work_order' AND c.window = 'open' THEN
                wo_open := c.open_runs;
            ELSIF c.scope = 'work_order' THEN
                wo_runs := c.runs;
                wo_used := c.reserved_usd + c.settled_usd;
            ELSIF c.scope = 'address' THEN
                address_runs := c.runs;
            ELSIF c.window = 'open' THEN
                all_open := c.open_runs;
            ELSE
                all_used := c.reserved_usd + c.settled_usd;
            END IF;
        END LOOP;
        IF NOT p_dry_run AND found_keys < cardinality(keys) THEN
            -- A new day, minute or work order: whoever comes here holds the global row, so that no
            -- two create the same row. Then again from the top, all of them locked in order.
            INSERT INTO counters (key, scope, subject, "window", starts_at)
            SELECT k.key, k.scope, k.subject, k.win, k.starts_at
            FROM tollgate_charges(p_wo, p_address, at) k ON CONFLICT (key) DO NOTHING;
            CONTINUE;
        END IF;
        -- The day is the one that the clock shows now that the locks are held.
        IF date_trunc('minute', tollgate_now()) <> date_trunc('minute', at) THEN
            CONTINUE;
        END IF;
        at := tollgate_now();
        day := date_trunc('day', at, 'UTC');
        tomorrow := day + interval '1 day';
        SELECT o.title, o.status, e.runs_per_day, e.usd_per_day, e.max_concurrent_runs,
            o.refuse_unknown_agents, s.settled_runs, s.median_usd, s.p95_usd,
            EXISTS (SELECT FROM agents a WHERE a.name = p_agent AND a.is_active) AS agent_known,
            (SELECT l.amount FROM limits l
             WHERE l.scope = 'global' AND l."window" = 'open' AND l.measure = 'runs') AS all_open_limit,
            (SELECT l.amount FROM limits l
             WHERE l.scope = 'global' AND l."window" = 'day' AND l.measure = 'usd') AS all_usd_limit,
            (SELECT l.amount FROM limits l
             WHERE l.scope = 'address' AND l."window" = 'minute' AND l.measure = 'runs') AS address_limit
        INTO w FROM work_orders o LEFT JOIN cost_statistics s ON s.wo_id = o.id
        CROSS JOIN LATERAL tollgate_effective_caps(o.id, at) e WHERE o.id = p_wo;

        estimate := coalesce(p_estimate, w.p95_usd, round(w.usd_per_day / w.runs_per_day, 9));
        IF p_lift AND w.settled_runs >= 20 THEN
            estimate := greatest(estimate, w.median_usd);
        END IF;
        day_after := coalesce(p_retry_after, ceil(extract(epoch FROM tomorrow - at))::integer);
        minute_after := 60 - extract(second FROM at)::integer;
        answer := NULL;

        -- 6. Suspended or archived.
        IF w.status <> 'draft' THEN
            answer := tollgate_refusal(409, 'suspended', 'work order is ' || w.status);
        -- 7. Unknown agent, where refused.
        ELSIF w.refuse_unknown_agents AND NOT w.agent_known THEN
            answer := tollgate_refusal(403, 'unknown_agent', 'unknown agent');
        -- 8. Concurrent runs: of the work order, of all.
        ELSIF wo_open >= w.max_concurrent_runs OR all_open >= w.all_open_limit THEN
            IF p_dry_run THEN
                wo_open := wo_open - (SELECT count(*) FROM work_order_runs r WHERE r.wo_id = p_wo
                    AND r.status = 'running' AND r.lease_expires_at <= at);
                all_open := all_open - (SELECT count(*) FROM work_order_runs r
                    WHERE r.status = 'running' AND r.lease_expires_at <= at);
            ELSIF NOT reaped THEN
                -- Room may be held by runs that never reported: no job is needed to be right.
                reaped := true;
                IF tollgate_reap(CASE WHEN wo_open >= w.max_concurrent_runs THEN p_wo END, 50, false) > 0
                THEN
                    CONTINUE;
                END IF;
            END IF;
            IF wo_open >= w.max_concurrent_runs THEN
                cap := w.max_concurrent_runs::text;
                answer := tollgate_refusal(429, 'concurrency', 'concurrency limit reached', 5);
            ELSIF all_open >= w.all_open_limit THEN
                cap := w.all_open_limit::bigint::text;
                answer := tollgate_refusal(429, 'concurrency', 'concurrency limit reached', 5);
            END IF;
        END IF;
        IF answer IS NULL THEN
            -- 9. Runs a day.
            IF wo_runs + 1 > w.runs_per_day THEN
                cap := w.runs_per_day::text;
                answer := tollgate_refusal(
                    429, 'runs_per_day', 'runs/day cap reached', day_after, tomorrow);
            -- 10. Dollars a day.
            ELSIF wo_used + estimate > w.usd_per_day THEN
                cap := w.usd_per_day::text;
                answer := tollgate_refusal(
                    429, 'usd_per_day', 'budget cap reached', day_after, tomorrow);
            -- 11. Calls of one source address.
            ELSIF address_runs + 1 > w.address_limit THEN
                cap := w.address_limit::bigint::text;
                answer := tollgate_refusal(429, 'address_rate', 'quota reached', minute_after,
                    date_trunc('minute', at) + interval '1 minute');
            -- 12. The budget of all, a day.
            ELSIF all_used + estimate > w.all_usd_limit THEN
                cap := w.all_usd_limit::text;
                answer := tollgate_refusal(
                    429, 'budget:global:day', 'global budget reached', day_after, tomorrow);
            -- 13. A model without a price is never a free ride.
            ELSIF p_estimate IS NULL AND NOT p_priced THEN
                answer := tollgate_refusal(422, 'unpriced_model',
                    'the model has no price: give estimatedCostUsd, or have a price entered');
            -- 14. Costly: only on purpose.
            ELSIF estimate > p_confirm_over AND NOT p_confirm THEN
                cap := p_confirm_over::text;
                answer := tollgate_refusal(428, 'confirm',
                    'the estimate is over $' || p_confirm_over || ': send "confirm": true');
            END IF;
        END IF;

        IF p_dry_run THEN
            answer.body := json_build_object(
                'decision', CASE WHEN answer.denial IS NULL THEN 'admit' ELSE 'refuse' END,
                'reason', answer.denial, 'wouldReserveUsd', tollgate_usd(estimate))::text;
            answer.status := 200;
            answer.denial := '';
            answer.error := NULL;
            RETURN answer;
        END IF;

        IF answer.denial IS NOT NULL THEN
            INSERT INTO operations_events
                (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
            VALUES (CASE WHEN answer.status = 429 THEN 'RATE_LIMIT_429' ELSE 'START_REFUSED' END,
                format('%s refused: %s', p_agent, answer.error), 'work_order', p_wo, w.title, b.actor,
                jsonb_build_object('woId', p_wo, 'woTitle', w.title, 'agentName', p_agent,
                    'reason', answer.denial, 'runsToday', wo_runs, 'usdToday', tollgate_usd(wo_used),
                    'cap', cap, 'estimatedUsd', tollgate_usd(estimate), 'askKey', nullif(p_key, ''),
                    'sourceIp', host(p_address), 'tokenName', b.token_name),
                p_request_id);
            RETURN answer;
        END IF;

        run_id := tollgate_uuid7(at);
        lease_end := at + make_interval(secs => p_lease);
        answer.body := json_build_object(
            'runId', run_id, 'workOrderId', p_wo, 'status', 'running',
            'reservedUsd', tollgate_usd(estimate), 'leaseExpiresAt', tollgate_rfc3339(lease_end),
            'caps', json_build_object('runsPerDay', w.runs_per_day, 'usdPerDay', w.usd_per_day),
            'usage', json_build_object('runsToday', wo_runs + 1,
                'usdToday', tollgate_usd(wo_used + estimate), 'openRuns', wo_open + 1))::text;
        IF p_key <> '' THEN
            -- Waits for a duplicate that is under way; when that one was admitted, nothing is
            -- written here, and the next round finds its answer.
            INSERT INTO idempotency_records AS i
                (token_id, endpoint, key, fingerprint, answer, created_at)
            VALUES (b.token_id, 'start', p_key, p_fingerprint, jsonb_build_object('body', answer.body), at)
            ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                answer = excluded.answer, created_at = excluded.created_at
            WHERE i.created_at <= at - interval '48 hours';
            IF NOT FOUND THEN
                CONTINUE;
            END IF;
        END IF;
        UPDATE counters SET runs = runs + 1, open_runs = open_runs + 1,
            reserved_usd = reserved_usd + estimate
        WHERE id = ANY (ids);
        WITH run AS (
            INSERT INTO work_order_runs (id, wo_id, agent_name, agent_known, status, reserved_usd,
                day, started_at, lease_expires_at, lease_seconds, model, user_id, surface, feature,
                source_ip, idempotency_key, token_id, charged_to)
            VALUES (run_id, p_wo, p_agent, w.agent_known, 'running', estimate,
                (day AT TIME ZONE 'UTC')::date, at, lease_end, p_lease, p_model, p_user,
                coalesce(nullif(b.surface, ''), p_surface), coalesce(nullif(b.feature, ''), p_feature),
                p_address, p_key, b.token_id, ids))
        INSERT INTO operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        VALUES ('WORK_ORDER_START', p_agent || ' started', 'work_order', p_wo, w.title, b.actor,
            jsonb_build_object('woId', p_wo, 'woTitle', w.title, 'agentName', p_agent,
                'agentKnown', w.agent_known, 'runId', run_id, 'sourceIp', host(p_address),
                'estimatedUsd', tollgate_usd(estimate), 'askKey', nullif(p_key, ''),
                'tokenName', b.token_name),
            p_request_id);
        answer.status := 201;
        answer.denial := '';
        answer.replayed := false;
        answer.reserved_usd := estimate;
        RETURN answer;
    END LOOP;
    RAISE EXCEPTION 'admission found no quiet moment' USING ERRCODE = 'lock_not_available';
END $$;

CREATE PROCEDURE tollgate_start(
    p_digest bytea, p_address inet, p_wo text, p_agent text, p_estimate numeric, p_priced boolean,
    p_book_version bigint, p_lease integer, p_model text, p_user text, p_surface text, p_feature text,
    p_dry_run boolean, p_confirm boolean, p_key text, p_fingerprint bytea, p_request_id text,
    p_retry_after integer, p_lift boolean, p_confirm_over numeric,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd, settled_usd
    FROM tollgate_start_run(p_digest, p_address, p_wo, p_agent, p_estimate, p_priced,
        p_book_version, p_lease, p_model, p_user, p_surface, p_feature, p_dry_run, p_confirm, p_key,
        p_fingerprint, p_request_id, p_retry_after, p_lift, p_confirm_over) a;
    -- A refusal promises nothing, so its event may reach the disk a moment later.
    CALL tollgate_commit(status = 201);
END $$;
