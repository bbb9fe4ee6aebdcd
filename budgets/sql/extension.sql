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

-- What there is under the locks. A renewal of the lease alone (`p_additional` zero) is stopped by a kill switch,
-- and by the status of its work order. More money: by the day and the month of its start, the present hour and minute.
CREATE OR REPLACE FUNCTION tollgate.look_at_extension(
    r public.work_order_runs, p_additional numeric, p_retry_after integer
) RETURNS tollgate.look LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    l tollgate.look;
BEGIN
    l.at := tollgate.now();
    l.facts := tollgate.run_facts(r);
    IF r.day >= (l.at AT TIME ZONE 'UTC')::date THEN   -- (No waiting cures a day that is past.)
        l.day_ends := date_trunc('day', l.at, 'UTC') + interval '1 day';
        l.day_after := tollgate.day_after(p_retry_after, l.at);
    END IF;
    SELECT coalesce(max(k.runs), 0), coalesce(max(k.reserved_usd + k.settled_usd), 0) INTO l.runs, l.usd
    FROM public.counters k WHERE k.id = ANY (r.charged_to) AND k."window" = 'day' AND k.scope = 'work_order';
    l.killed := tollgate.kill_switch(r.surface, r.user_id, r.agent_name,
        (SELECT t.lineage FROM public.service_tokens t WHERE t.id = r.token_id));
    IF p_additional = 0 THEN
        RETURN l;
    END IF;
    SELECT t[1] INTO l.tripped FROM tollgate.open_breakers(r.wo_id) t
    WHERE NOT EXISTS (SELECT FROM unnest(t) p WHERE p.probe_run_id = r.id);
    l.feature_is_off := (SELECT NOT f.enabled FROM public.feature_flags f WHERE f.feature = r.feature);
    SELECT bool_or(tollgate.crosses(c, p_additional)),
        bool_or(c.check_name = 'feature_cost' AND c.used + p_additional >= c.amount)
    INTO l.crosses, l.uses_up FROM tollgate.charges(l.facts, l.at, false) c WHERE c.measure = 'usd';
    SELECT c INTO l.way FROM (
        SELECT * FROM tollgate.charges(l.facts, r.started_at, false) d WHERE d.win IN ('day', 'month')
        UNION ALL SELECT * FROM tollgate.charges(l.facts, l.at, false) h WHERE tollgate.is_short(h.win)) c
    WHERE c.measure = 'usd' AND tollgate.refuses(c, p_additional, 0, false)
    ORDER BY c.check_name, c.budget_id LIMIT 1;
    l.cured_at := tollgate.cured_at(l.way, l.at);
    RETURN l;
END $$;

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
    s tollgate.start;            -- as which it is judged
    l tollgate.look;
    check_name tollgate.start_check;
    answer tollgate.answer;
    alerted boolean;
    endpoint constant text := 'extend:' || p_run;
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
    r := tollgate.hold_run(p_run, b);
    IF r.id IS NULL THEN
        RETURN tollgate.refusal(404, 'unknown_run', 'unknown run');
    END IF;
    -- Under the lock of the run, which serialises duplicates of an extension of it.
    IF p_key <> '' THEN
        answer := tollgate.kept_answer(b.lineage, endpoint, p_key, p_fingerprint, tollgate.now(), 200);
        IF answer.status IS NOT NULL THEN
            answer.body := CASE WHEN answer.replayed THEN tollgate.replayed_extension(r) END;
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
    l := tollgate.look_at_extension(r, p_additional, p_retry_after);
    s.wo := r.wo_id;
    s.agent := r.agent_name;
    s.feature := r.feature;
    s.estimate := p_additional;
    s.key := p_key;
    s.address := p_address;
    s.request_id := p_request_id;
    s.lineage := b.lineage;
    s.actor := b.actor;
    s.token_name := b.token_name;
    SELECT o.title, o.status, CASE WHEN p_additional > 0 THEN e.usd_per_day END INTO s.title, s.status, s.usd_per_day
    FROM public.work_orders o CROSS JOIN LATERAL tollgate.effective_caps(o.id, l.at) e WHERE o.id = r.wo_id;
    check_name := tollgate.judge_start(s, l, NULL);
    IF check_name <> 'none' THEN
        RETURN tollgate.refuse_one(check_name, s, l, NULL, p_refusal_events, r.id);
    END IF;

    IF p_additional > 0 THEN
        PERFORM tollgate.charge_later(r.id, 'extension', l.facts, p_additional, NULL, l.at);
        UPDATE public.counters SET reserved_usd = reserved_usd + p_additional
        WHERE id = ANY (r.charged_to) AND NOT tollgate.is_short("window");
        alerted := tollgate.alert_use(r.feature, l);
        -- A renewal alone changes no money and is not worth a line in the log.
        PERFORM tollgate.record(row('RUN_EXTENDED', format('%s reserved $%s more', r.agent_name, tollgate.usd(p_additional)),
            'work_order', r.wo_id, s.title, b.actor,
            jsonb_build_object('woId', r.wo_id, 'runId', r.id, 'agentName', r.agent_name,
                'additionalUsd', tollgate.usd(p_additional),
                'reservedUsd', tollgate.usd(r.reserved_usd + p_additional)), p_request_id)::tollgate.event);
    END IF;
    UPDATE public.work_order_runs SET reserved_usd = reserved_usd + p_additional,
        lease_seconds = coalesce(p_lease, lease_seconds),
        lease_expires_at = l.at + make_interval(secs => coalesce(p_lease, lease_seconds))
    WHERE id = r.id RETURNING * INTO r;
    answer := tollgate.granted(200, json_build_object('runId', r.id, 'workOrderId', r.wo_id, 'status', r.status,
        'reservedUsd', tollgate.usd(r.reserved_usd),
        'leaseExpiresAt', tollgate.rfc3339(r.lease_expires_at))::text, p_additional, NULL, alerted);
    IF p_key <> '' THEN
        PERFORM tollgate.keep_answers(endpoint, l.at, row(b.lineage, p_key, p_fingerprint, answer.body)::tollgate.kept);
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
