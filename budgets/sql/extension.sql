-- The answer to an extension that was granted before: what its run is now. A run whose lease is over
-- cannot go on, whether it has been settled yet or not.
CREATE OR REPLACE FUNCTION tollgate.replayed_extension(r public.work_order_runs) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'runId', r.id, 'workOrderId', r.wo_id, 'status', CASE
            WHEN r.status = 'running' AND r.lease_expires_at <= tollgate.now() THEN 'expired'
            ELSE r.status END,
        'reservedUsd', tollgate.usd(r.reserved_usd),
        'leaseExpiresAt', tollgate.rfc3339(r.lease_expires_at), 'replayed', true)::text
$$;

-- Extension: more money, more time, or both, for a run under way. More money is charged to the day
-- (and month) that the run started in, and to the present hour and minute.
CREATE OR REPLACE FUNCTION tollgate.extend_run_v1(
    p_digest bytea, p_address inet, p_run uuid, p_additional numeric, p_lease integer,
    p_key text, p_fingerprint bytea, p_request_id text, p_retry_after integer,
    p_refusal_events integer   -- of one line of tokens and second, see refusals.sql
) RETURNS tollgate.answer LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET jit TO off AS $$
DECLARE
    b tollgate.bearer;
    r public.work_order_runs;
    w record;
    used record;
    stored public.idempotency_records;
    answer tollgate.answer;
    at timestamptz;
    tomorrow timestamptz;
    day_after integer;
    cap text;
    facts tollgate.facts;
    killed public.kill_switches;
    tripped public.circuit_breakers[];
    way tollgate.charge;         -- the first limit in the way
    place tollgate.refusal_place;
    crosses boolean := false;
    uses_up boolean := false;    -- the cost cap of the feature
    ids bigint[];
    endpoint_name text := 'extend:' || p_run;
BEGIN
    -- (It runs with the owner's rights: whoever calls it, the numbers are numbers.)
    IF NOT coalesce(p_additional BETWEEN 0 AND 1000000 AND coalesce(p_lease, 1) BETWEEN 1 AND 86400, false) THEN
        RAISE EXCEPTION 'an extension is out of bounds' USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO b FROM tollgate.bearer_v1(p_digest, p_address, '{start,admin}', '');
    IF b.refusal <> '' THEN
        RETURN tollgate.token_refusal(b.refusal);
    END IF;
    IF b.use_due THEN
        PERFORM tollgate.note_token_use_v1(b.token_id, p_address);
    END IF;
    PERFORM tollgate.share_limits();
    SELECT * INTO r FROM public.work_order_runs WHERE id = p_run FOR UPDATE;
    IF NOT FOUND OR NOT coalesce(tollgate.is_of_line(r.token_id, b) OR 'admin' = ANY (b.scopes), false)
        OR (cardinality(b.work_orders) > 0 AND NOT r.wo_id = ANY (b.work_orders)) THEN
        RETURN tollgate.refusal(404, 'unknown_run', 'unknown run');
    END IF;
    -- Under the lock of the run, which serialises duplicates of an extension of it.
    IF p_key <> '' THEN
        SELECT * INTO stored FROM public.idempotency_records i
        WHERE i.token_id = b.lineage AND i.endpoint = endpoint_name AND i.key = p_key
            AND i.created_at > tollgate.now() - interval '48 hours';
        IF FOUND THEN
            IF stored.fingerprint <> p_fingerprint THEN
                RETURN tollgate.refusal(422, 'idempotency_key',
                    'this Idempotency-Key was used for another request');
            END IF;
            answer.status := 200;
            answer.denial := '';
            answer.replayed := true;
            PERFORM tollgate.confirm_commit();
            answer.body := tollgate.replayed_extension(r);
            RETURN answer;
        END IF;
    END IF;
    IF r.status <> 'running' OR r.lease_expires_at <= tollgate.now() THEN
        RETURN tollgate.refusal(409, 'run_ended', 'the run has ended');
    END IF;

    PERFORM tollgate.share_work_order(r.wo_id);
    IF p_additional > 0 THEN
        PERFORM tollgate.hold_counters();
    END IF;
    at := tollgate.now();
    tomorrow := date_trunc('day', at, 'UTC') + interval '1 day';
    day_after := coalesce(p_retry_after, ceil(extract(epoch FROM tomorrow - at))::integer);
    IF r.day < (at AT TIME ZONE 'UTC')::date THEN
        -- What a past day allows is spent for good: no waiting cures that.
        day_after := NULL;
        tomorrow := NULL;
    END IF;
    facts := tollgate.run_facts(r);
    SELECT o.title, o.status, e.usd_per_day, coalesce(f.enabled, true) AS feature_on INTO w
    FROM public.work_orders o CROSS JOIN LATERAL tollgate.effective_caps(o.id, at) e
    LEFT JOIN public.feature_flags f ON f.feature = r.feature WHERE o.id = r.wo_id;
    SELECT coalesce(max(k.runs), 0) AS wo_runs, coalesce(max(k.reserved_usd + k.settled_usd), 0) AS wo
    INTO used FROM public.counters k
    WHERE k.id = ANY (r.charged_to) AND k."window" = 'day' AND k.scope = 'work_order';

    -- A kill switch stops what runs already, renewals of the lease too: 403 says stop.
    killed := tollgate.kill_switch(r.surface, r.user_id, r.agent_name,
        (SELECT t.lineage FROM public.service_tokens t WHERE t.id = r.token_id));
    IF killed.id IS NOT NULL THEN
        answer := tollgate.killed(killed);
    ELSIF p_additional > 0 THEN
        tripped := tollgate.open_breakers(r.wo_id);
        SELECT * INTO way FROM (
            -- The day and the month of its start, then the present hour and minute.
            SELECT CASE WHEN l.scope IN ('user', 'address') THEN 11 ELSE 12 END AS stage, l.id AS budget_id,
                l.scope, k.subject, l."window" AS win, l.measure, l.amount, l.warning_amount,
                l.alert_percents, k.starts_at, k.id AS counter_id,
                k.reserved_usd + k.settled_usd AS used
            -- (Each side by its own index, fenced off: as a join it was planned to read all limits.)
            FROM (SELECT * FROM public.counters WHERE id = ANY (r.charged_to)
                    AND "window" IN ('day', 'month') OFFSET 0) k
                JOIN (SELECT * FROM public.budgets WHERE scope || ':' || subject = ANY (facts.covers)
                    AND measure = 'usd' AND scope <> 'work_order' OFFSET 0) l
                ON l.scope = k.scope AND l."window" = k."window" AND (l.subject IN ('', k.subject)
                    OR (l.subject = '*' AND NOT EXISTS (
                        SELECT FROM public.budgets own WHERE own.scope = l.scope AND own."window" = l."window"
                            AND own.measure = l.measure AND own.subject = k.subject)))
            UNION ALL
            SELECT c.* FROM tollgate.charges(facts, at, false) c
            WHERE c.measure = 'usd' AND tollgate.is_short(c.win)
        ) c WHERE c.used + p_additional > c.amount OR c.used >= c.amount
        ORDER BY c.stage, c.budget_id LIMIT 1;
    END IF;

    IF answer.denial IS NOT NULL THEN
        NULL;
    ELSIF tripped IS NOT NULL AND NOT r.id = ANY (
        SELECT t.probe_run_id FROM unnest(tripped) t WHERE t.probe_run_id IS NOT NULL) THEN
        answer := tollgate.refusal(503, 'breaker_open', 'the circuit breaker is open',
            least(tollgate.seconds_until(tripped[1].half_open_at, at), tripped[1].open_seconds),
            least(greatest(at, tripped[1].half_open_at), at + make_interval(secs => tripped[1].open_seconds)));
    ELSIF p_additional > 0 AND NOT w.feature_on THEN
        answer := tollgate.refusal(403, 'feature_off', 'feature ' || r.feature || ' is switched off');
    ELSIF way.stage = 5 THEN
        cap := way.amount::text;
        answer := tollgate.limit_refusal(way, at, day_after);
        IF way.used >= way.amount THEN
            PERFORM tollgate.switch_feature_off(r.feature, way, at);
            answer.alerted := true;
        END IF;
    ELSIF w.status <> 'draft' THEN
        answer := tollgate.refusal(409, 'suspended', 'work order is ' || w.status);
    ELSIF p_additional > 0 AND used.wo + p_additional > w.usd_per_day THEN
        cap := w.usd_per_day::text;
        answer := tollgate.refusal(429, 'usd_per_day', 'budget cap reached', day_after, tomorrow);
    ELSIF way.stage = 15 AND p_additional > way.amount THEN
        cap := way.amount::text;
        answer := tollgate.refusal(503, 'breaker_open', 'more at once than $'
            || tollgate.usd(way.amount) || ' a minute: extend in steps', 60);
    ELSIF way.stage = 15 AND tollgate.too_large(way, p_additional) THEN
        cap := way.amount::text;
        answer := tollgate.wait_for_minute(way, p_additional, at);
    ELSIF way.stage = 15 THEN
        cap := way.amount::text;
        tripped := ARRAY[tollgate.trip('global', '', format(
            '$%s within a minute and $%s more asked for, over $%s', tollgate.usd(way.used),
            tollgate.usd(p_additional), tollgate.usd(way.amount)), at)];
        answer := tollgate.refusal(503, 'breaker_open', 'the circuit breaker is open',
            tripped[1].open_seconds, tripped[1].half_open_at);
        answer.alerted := true;
    ELSIF way.stage IS NOT NULL THEN
        cap := way.amount::text;
        answer := tollgate.limit_refusal(way, at, day_after);
        IF NOT tollgate.is_short(way.win) AND way.starts_at < tollgate.begins(way.win, at) THEN
            answer.retry_after := NULL;
            answer.reset_at := NULL;
        END IF;
    END IF;
    IF answer.denial IS NOT NULL THEN
        SELECT p.* INTO place FROM tollgate.refusal_place(b.lineage, 'extension', r.wo_id, answer.denial,
            concat_ws(' ', answer.error, tollgate.refused_by(answer, way)), at, p_refusal_events) p;
        PERFORM tollgate.record_refusal(place,
            CASE WHEN answer.status = 429 THEN 'RATE_LIMIT_429' ELSE 'EXTENSION_REFUSED' END,
            format('%s refused more: %s', r.agent_name, answer.error), r.wo_id, w.title, b.actor,
            jsonb_build_object('woId', r.wo_id, 'woTitle', w.title, 'agentName', r.agent_name,
                'runId', r.id, 'reason', answer.denial, 'runsToday', used.wo_runs,
                'usdToday', tollgate.usd(used.wo), 'cap', cap,
                'estimatedUsd', tollgate.usd(p_additional), 'askKey', nullif(p_key, ''),
                'sourceIp', host(p_address), 'tokenName', b.token_name)
                || jsonb_strip_nulls(jsonb_build_object('budgetId', tollgate.refused_by(answer, way),
                    'feature', nullif(r.feature, ''))),
            p_request_id, at, p_refusal_events);
        RETURN answer;
    END IF;

    IF p_additional > 0 THEN
        -- The day is that of the start; the hour and the minute are the present ones.
        SELECT bool_or(tollgate.crosses(c, p_additional)),
            bool_or(c.stage = 5 AND c.used + p_additional >= c.amount) INTO crosses, uses_up
        FROM tollgate.charges(facts, at, false) c WHERE c.measure = 'usd';
        ids := tollgate.present_counters(facts, at, true);
        INSERT INTO public.run_charges (run_id, kind, at, reserved_usd, charged_to)
        VALUES (r.id, 'extension', at, p_additional, ids);
        UPDATE public.counters SET reserved_usd = reserved_usd + p_additional
        WHERE id = ANY (ids) OR (id = ANY (r.charged_to) AND NOT tollgate.is_short("window"));
        answer.alerted := uses_up;
        IF uses_up THEN
            PERFORM tollgate.switch_feature_off(r.feature, c, at) FROM tollgate.charges(facts, at, false) c
            WHERE c.stage = 5 AND c.measure = 'usd' AND c.used >= c.amount;
        END IF;
        IF crosses THEN
            answer.alerted := tollgate.alert_charges(facts, at) OR uses_up IS TRUE;
        END IF;
        -- A renewal alone changes no money and is not worth a line in the log.
        INSERT INTO public.operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        VALUES ('RUN_EXTENDED', format('%s reserved $%s more', r.agent_name, tollgate.usd(p_additional)),
            'work_order', r.wo_id, w.title, b.actor,
            jsonb_build_object('woId', r.wo_id, 'runId', r.id, 'agentName', r.agent_name,
                'additionalUsd', tollgate.usd(p_additional),
                'reservedUsd', tollgate.usd(r.reserved_usd + p_additional)),
            p_request_id);
    END IF;
    UPDATE public.work_order_runs SET reserved_usd = reserved_usd + p_additional,
        lease_seconds = coalesce(p_lease, lease_seconds),
        lease_expires_at = at + make_interval(secs => coalesce(p_lease, lease_seconds))
    WHERE id = r.id RETURNING * INTO r;
    answer.status := 200;
    answer.denial := '';
    answer.replayed := false;
    answer.reserved_usd := p_additional;
    answer.body := json_build_object('runId', r.id, 'workOrderId', r.wo_id, 'status', r.status,
        'reservedUsd', tollgate.usd(r.reserved_usd),
        'leaseExpiresAt', tollgate.rfc3339(r.lease_expires_at))::text;
    IF p_key <> '' THEN
        INSERT INTO public.idempotency_records (token_id, endpoint, key, fingerprint, answer, created_at)
        VALUES (b.lineage, endpoint_name, p_key, p_fingerprint,
            jsonb_build_object('body', answer.body), at)
        ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
            answer = excluded.answer, created_at = excluded.created_at;
    END IF;
    RETURN answer;
END $$;

CREATE OR REPLACE PROCEDURE tollgate.extend_v1(
    p_digest bytea, p_address inet, p_run uuid, p_additional numeric, p_lease integer,
    p_key text, p_fingerprint bytea, p_request_id text, p_retry_after integer, p_refusal_events integer,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric, INOUT alerted boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd,
        settled_usd, alerted
    FROM tollgate.extend_run_v1(p_digest, p_address, p_run, p_additional, p_lease, p_key,
        p_fingerprint, p_request_id, p_retry_after, p_refusal_events) a;
    CALL tollgate.commit(status = 200 OR alerted);
END $$;
