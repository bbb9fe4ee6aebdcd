-- Extension: more money, more time, or both, for a run under way. Charged to the counters that the
-- run was charged to when it started, so to the day it started.
CREATE FUNCTION tollgate_extend_run(
    p_digest bytea, p_address inet, p_run uuid, p_additional numeric, p_lease integer,
    p_key text, p_fingerprint bytea, p_request_id text, p_retry_after integer
) RETURNS tollgate_answer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    b tollgate_bearer := tollgate_bearer(p_digest, p_address, '{start,admin}', '');
    r work_order_runs;
    w record;
    used record;
    stored idempotency_records;
    answer tollgate_answer;
    at timestamptz;
    tomorrow timestamptz;
    day_after integer;
    cap text;
    endpoint_name text := 'extend:' || p_run;
BEGIN
    IF b.refusal <> '' THEN
        RETURN tollgate_token_refusal(b.refusal);
    END IF;
    SELECT * INTO r FROM work_order_runs WHERE id = p_run FOR UPDATE;
    IF NOT FOUND OR NOT (r.token_id = b.token_id OR 'admin' = ANY (b.scopes))
        OR (cardinality(b.work_orders) > 0 AND NOT r.wo_id = ANY (b.work_orders)) THEN
        RETURN tollgate_refusal(404, 'unknown_run', 'unknown run');
    END IF;
    -- Under the lock of the run, which serialises duplicates of an extension of it.
    IF p_key <> '' THEN
        SELECT * INTO stored FROM idempotency_records i
        WHERE i.token_id = b.token_id AND i.endpoint = endpoint_name AND i.key = p_key
            AND i.created_at > tollgate_now() - interval '48 hours';
        IF FOUND THEN
            IF stored.fingerprint <> p_fingerprint THEN
                RETURN tollgate_refusal(422, 'idempotency_key',
                    'this Idempotency-Key was used for another request');
            END IF;
            answer.status := 200;
            answer.denial := '';
            answer.replayed := true;
            answer.body := stored.answer->>'body';
            RETURN answer;
        END IF;
    END IF;
    IF r.status <> 'running' OR r.lease_expires_at <= tollgate_now() THEN
        RETURN tollgate_refusal(409, 'run_ended', 'the run has ended');
    END IF;

    IF p_additional > 0 THEN
        PERFORM tollgate_lock_counters(r.charged_to);
    ELSE
        PERFORM FROM counters
        WHERE key = tollgate_counter_key('work_order', r.wo_id, 'open', 'epoch') FOR UPDATE;
    END IF;
    at := tollgate_now();
    tomorrow := date_trunc('day', at, 'UTC') + interval '1 day';
    day_after := coalesce(p_retry_after, ceil(extract(epoch FROM tomorrow - at))::integer);
    IF r.day < (at AT TIME ZONE 'UTC')::date THEN
        -- What a past day allows is spent for good: no waiting cures that.
        day_after := NULL;
        tomorrow := NULL;
    END IF;
    SELECT o.title, o.status, e.usd_per_day,
        (SELECT l.amount FROM limits l
         WHERE l.scope = 'global' AND l."window" = 'day' AND l.measure = 'usd') AS all_usd_limit
    INTO w FROM work_orders o CROSS JOIN LATERAL tollgate_effective_caps(o.id, at) e
    WHERE o.id = r.wo_id;
    SELECT coalesce(sum(k.runs) FILTER (WHERE k.scope = 'work_order'), 0) AS wo_runs,
        coalesce(sum(k.reserved_usd + k.settled_usd) FILTER (WHERE k.scope = 'work_order'), 0) AS wo,
        coalesce(sum(k.reserved_usd + k.settled_usd) FILTER (WHERE k.scope = 'global'), 0) AS "all"
    INTO used FROM counters k WHERE k.id = ANY (r.charged_to) AND k."window" = 'day';

    IF w.status <> 'draft' THEN
        answer := tollgate_refusal(409, 'suspended', 'work order is ' || w.status);
    ELSIF p_additional > 0 AND used.wo + p_additional > w.usd_per_day THEN
        cap := w.usd_per_day::text;
        answer := tollgate_refusal(429, 'usd_per_day', 'budget cap reached', day_after, tomorrow);
    ELSIF p_additional > 0 AND used."all" + p_additional > w.all_usd_limit THEN
        cap := w.all_usd_limit::text;
        answer := tollgate_refusal(
            429, 'budget:global:day', 'global budget reached', day_after, tomorrow);
    END IF;
    IF answer.denial IS NOT NULL THEN
        INSERT INTO operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        VALUES (CASE WHEN answer.status = 429 THEN 'RATE_LIMIT_429' ELSE 'EXTENSION_REFUSED' END,
            format('%s refused more: %s', r.agent_name, answer.error), 'work_order', r.wo_id, w.title,
            b.actor,
            jsonb_build_object('woId', r.wo_id, 'woTitle', w.title, 'agentName', r.agent_name,
                'runId', r.id, 'reason', answer.denial, 'runsToday', used.wo_runs,
                'usdToday', tollgate_usd(used.wo), 'cap', cap,
                'estimatedUsd', tollgate_usd(p_additional), 'askKey', nullif(p_key, ''),
                'sourceIp', host(p_address), 'tokenName', b.token_name),
            p_request_id);
        RETURN answer;
    END IF;

    IF p_additional > 0 THEN
        UPDATE counters SET reserved_usd = reserved_usd + p_additional WHERE id = ANY (r.charged_to);
        -- A renewal alone changes no money and is not worth a line in the log.
        INSERT INTO operations_events
            (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
        VALUES ('RUN_EXTENDED', format('%s reserved $%s more', r.agent_name, tollgate_usd(p_additional)),
            'work_order', r.wo_id, w.title, b.actor,
            jsonb_build_object('woId', r.wo_id, 'runId', r.id, 'agentName', r.agent_name,
                'additionalUsd', tollgate_usd(p_additional),
                'reservedUsd', tollgate_usd(r.reserved_usd + p_additional)),
            p_request_id);
    END IF;
    UPDATE work_order_runs SET reserved_usd = reserved_usd + p_additional,
        lease_seconds = coalesce(p_lease, lease_seconds),
        lease_expires_at = at + make_interval(secs => coalesce(p_lease, lease_seconds))
    WHERE id = r.id RETURNING * INTO r;
    answer.status := 200;
    answer.denial := '';
    answer.replayed := false;
    answer.reserved_usd := p_additional;
    answer.body := json_build_object('runId', r.id, 'workOrderId', r.wo_id, 'status', r.status,
        'reservedUsd', tollgate_usd(r.reserved_usd),
        'leaseExpiresAt', tollgate_rfc3339(r.lease_expires_at))::text;
    IF p_key <> '' THEN
        INSERT INTO idempotency_records (token_id, endpoint, key, fingerprint, answer, created_at)
        VALUES (b.token_id, endpoint_name, p_key, p_fingerprint,
            jsonb_build_object('body', answer.body), at)
        ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
            answer = excluded.answer, created_at = excluded.created_at;
    END IF;
    RETURN answer;
END $$;

CREATE PROCEDURE tollgate_extend(
    p_digest bytea, p_address inet, p_run uuid, p_additional numeric, p_lease integer,
    p_key text, p_fingerprint bytea, p_request_id text, p_retry_after integer,
    INOUT status integer, INOUT denial text, INOUT error text, INOUT retry_after integer,
    INOUT reset_at timestamptz, INOUT replayed boolean, INOUT body text, INOUT reserved_usd numeric,
    INOUT settled_usd numeric
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.* INTO status, denial, error, retry_after, reset_at, replayed, body, reserved_usd, settled_usd
    FROM tollgate_extend_run(p_digest, p_address, p_run, p_additional, p_lease, p_key,
        p_fingerprint, p_request_id, p_retry_after) a;
    CALL tollgate_commit(status = 200);
END $$;
