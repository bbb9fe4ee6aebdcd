-- Admission: one call decides everything and writes everything.
--
-- Order of the checks: the table in the design, kept by the order of the blocks below. The first
-- refusal wins. A refusal is recorded and costs nothing. A dry run takes the same decision,
-- locks nothing and writes nothing.

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
    w record;                    -- the work order, read after the locks
    most record;                 -- the limits, read after the locks
    at timestamptz;
    day timestamptz;
    tomorrow timestamptz;
    wo_key CONSTANT text := tollgate_counter_key('work_order', p_wo, 'open', 'epoch');
    all_key CONSTANT text := tollgate_counter_key('global', '', 'open', 'epoch');
    ids bigint[];                -- the counters that the run is charged to
    wo_id bigint;
    wo_open bigint;
    wo_day_id bigint;
    wo_runs bigint;
    wo_used numeric;
    address_id bigint;
    address_runs bigint;
    all_id bigint;
    all_open bigint;
    all_day_id bigint;
    all_used numeric;
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

        IF p_book_version IS NOT NULL
            AND p_book_version <> (SELECT version FROM price_book_version) THEN
            RETURN tollgate_refusal(0, 'stale_prices', (SELECT version::text FROM price_book_version));
        END IF;

        -- Lock first, read after. Two rows stand for all that is charged: the work order's, then
        -- everybody's, which is held for the shortest time. Who has it may write, and create, any
        -- other counter: so no two ever create the same row, and nobody waits with it in hand.
        IF p_dry_run THEN
            SELECT max(k.open_runs) FILTER (WHERE k.key = wo_key),
                max(k.open_runs) FILTER (WHERE k.key = all_key)
            INTO wo_open, all_open FROM counters k WHERE k.key IN (wo_key, all_key);
        ELSE
            SELECT k.id, k.open_runs INTO wo_id, wo_open
            FROM counters k WHERE k.key = wo_key FOR UPDATE;
            IF NOT FOUND THEN
                -- Its first start makes the row before it holds any lock.
                IF NOT EXISTS (SELECT FROM work_orders o WHERE o.id = p_wo) THEN
                    RETURN tollgate_refusal(404, 'unknown_work_order', 'unknown work order');
                END IF;
                INSERT INTO counters (key, scope, subject, "window", starts_at)
                VALUES (wo_key, 'work_order', p_wo, 'open', 'epoch') ON CONFLICT DO NOTHING;
                CONTINUE;
            END IF;
            SELECT k.id, k.open_runs INTO all_id, all_open
            FROM counters k WHERE k.key = all_key FOR UPDATE;
        END IF;

        -- The day and the minute are those that the clock shows now that the locks are held.
        at := tollgate_now();
        day := date_trunc('day', at, 'UTC');
        tomorrow := day + interval '1 day';

        -- 2. The work order.
        SELECT o.title, o.status, e.runs_per_day, e.usd_per_day, e.max_concurrent_runs,
            o.refuse_unknown_agents, s.settled_runs, s.median_usd, s.p95_usd,
            EXISTS (SELECT FROM agents a WHERE a.name = p_agent AND a.is_active) AS agent_known
        INTO w FROM work_orders o LEFT JOIN cost_statistics s ON s.wo_id = o.id
        CROSS JOIN LATERAL tollgate_effective_caps(o.id, at) e WHERE o.id = p_wo;
        IF NOT FOUND THEN
            RETURN tollgate_refusal(404, 'unknown_work_order', 'unknown work order');
        END IF;

        -- Several small reads: one join of them all takes longer to set up than to run.
        SELECT max(l.amount) FILTER (WHERE l.scope = 'global' AND l."window" = 'open') AS all_open,
            max(l.amount) FILTER (WHERE l.scope = 'global' AND l."window" = 'day') AS all_usd,
            max(l.amount) FILTER (WHERE l.scope = 'address') AS address_runs
        INTO most FROM limits l;
        SELECT k.id, k.runs, k.reserved_usd + k.settled_usd INTO wo_day_id, wo_runs, wo_used
        FROM counters k WHERE k.key = tollgate_counter_key('work_order', p_wo, 'day', day);
        SELECT k.id, k.runs INTO address_id, address_runs FROM counters k WHERE k.key
            = tollgate_counter_key('address', host(p_address), 'minute', date_trunc('minute', at));
        SELECT k.id, k.reserved_usd + k.settled_usd INTO all_day_id, all_used
        FROM counters k WHERE k.key = tollgate_counter_key('global', '', 'day', day);
        IF p_dry_run THEN
            wo_open := coalesce(wo_open, 0);
            wo_runs := coalesce(wo_runs, 0);
            wo_used := coalesce(wo_used, 0);
            address_runs := coalesce(address_runs, 0);
            all_used := coalesce(all_used, 0);
        ELSIF wo_day_id IS NULL OR all_day_id IS NULL
            OR (address_id IS NULL AND p_address IS NOT NULL)
        THEN
            INSERT INTO counters (key, scope, subject, "window", starts_at)
            SELECT tollgate_counter_key(v.s, v.o, v.w, v.t), v.s, v.o, v.w, v.t
            FROM (VALUES ('work_order', p_wo, 'day', day),
                ('address', host(p_address), 'minute', date_trunc('minute', at)),
                ('global', '', 'day', day)) AS v (s, o, w, t)
            WHERE v.o IS NOT NULL ON CONFLICT DO NOTHING;
            CONTINUE;
        END IF;

        estimate := coalesce(p_estimate, w.p95_usd, round(w.usd_per_day / w.runs_per_day, 9));
        IF p_lift AND w.settled_runs >= 20 THEN
            estimate := greatest(estimate, w.median_usd);
        END IF;
        day_after := coalesce(p_retry_after, ceil(extract(epoch FROM tomorrow - at))::integer);
        minute_after := ceil(60 - extract(second FROM at))::integer;
        answer := NULL;

        -- 6. Suspended or archived.
        IF w.status <> 'draft' THEN
            answer := tollgate_refusal(409, 'suspended', 'work order is ' || w.status);
        -- 7. Unknown agent, where refused.
        ELSIF w.refuse_unknown_agents AND NOT w.agent_known THEN
            answer := tollgate_refusal(403, 'unknown_agent', 'unknown agent');
        -- 8. Concurrent runs: of the work order, of all.
        ELSIF wo_open >= w.max_concurrent_runs OR all_open >= most.all_open THEN
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
            ELSIF all_open >= most.all_open THEN
                cap := most.all_open::bigint::text;
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
            ELSIF address_runs + 1 > most.address_runs THEN
                cap := most.address_runs::bigint::text;
                answer := tollgate_refusal(429, 'address_rate', 'quota reached', minute_after,
                    date_trunc('minute', at) + interval '1 minute');
            -- 12. The budget of all, a day.
            ELSIF all_used + estimate > most.all_usd THEN
                cap := most.all_usd::text;
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
        ids := array_remove(ARRAY[wo_id, wo_day_id, address_id, all_id, all_day_id], NULL);
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
