-- A cost that a person puts right: where it was counted it is counted anew, at once; and what
-- tripped because of it alone is judged again without it.

-- The counters of all windows that a moment falls into, for these facts. `p_short`: those that are
-- charged at their own moment; else the others.
CREATE OR REPLACE FUNCTION tollgate.counter_keys(f tollgate.facts, p_at timestamptz, p_short boolean, p_open boolean)
RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(tollgate.counter_key(s.scope, tollgate.subject(s.scope, f), w.win,
        tollgate.begins(w.win, p_at)))
    FROM unnest(tollgate.scopes()) AS s (scope), unnest(tollgate.windows()) AS w (win)
    WHERE tollgate.subject(s.scope, f) IS NOT NULL AND tollgate.is_short(w.win) = p_short
        AND (p_open OR w.win <> 'open')
$$;

-- Committed dollars between two moments: a run by what is more, what it reserved or what it cost, so
-- that in doubt they are too many. `p_feature` null: of everything.
CREATE OR REPLACE FUNCTION tollgate.committed(p_feature text, p_from timestamptz, p_to timestamptz) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(v.usd), 0) FROM (
        SELECT greatest(r.reserved_usd, coalesce(r.cost, 0)) - coalesce((
            SELECT sum(greatest(x.reserved_usd, coalesce(x.settled_usd, 0))) FROM public.run_charges x
            WHERE x.run_id = r.id), 0) AS usd
        FROM public.work_order_runs r
        WHERE r.started_at > p_from AND r.started_at <= p_to AND (p_feature IS NULL OR r.feature = p_feature)
        UNION ALL
        SELECT greatest(c.reserved_usd, coalesce(c.settled_usd, 0))
        FROM public.run_charges c JOIN public.work_order_runs r ON r.id = c.run_id
        WHERE c.at > p_from AND c.at <= p_to AND (p_feature IS NULL OR r.feature = p_feature)
        UNION ALL
        SELECT d.cost_usd FROM public.direct_spend d
        WHERE d.at > p_from AND d.at <= p_to AND (p_feature IS NULL OR d.feature = p_feature)
    ) v
$$;

-- Whether the breaker of everything, and the feature, would have tripped without the figure that was
-- corrected: they are closed, and switched on, if not. `p_moments`: those it was counted at.
CREATE OR REPLACE FUNCTION tollgate.judge_again(
    p_feature text, p_moments timestamptz[], p_actor text, p_at timestamptz
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c public.circuit_breakers;
    f public.feature_flags;
    amount numeric := (SELECT b.amount FROM public.budgets b
        WHERE b.scope = 'global' AND b."window" = 'rolling_minute' AND b.measure = 'usd');
    why text := 'it tripped on a cost that was corrected';
BEGIN
    SELECT * INTO c FROM public.circuit_breakers b WHERE b.scope = 'global' AND b.state = 'open'
        AND b.reason ~ '^\$[0-9.]+ (were committed )?within a minute';   -- not by hand
    IF FOUND AND amount IS NOT NULL AND EXISTS (
            SELECT FROM unnest(p_moments) m
            WHERE m > c.changed_at - tollgate.reach('rolling_minute') AND m <= c.changed_at)
        AND tollgate.committed(NULL, c.changed_at - tollgate.reach('rolling_minute'), c.changed_at) <= amount THEN
        PERFORM tollgate.close_breaker(c.id, why, p_at);
    END IF;
    SELECT * INTO f FROM public.feature_flags x WHERE x.feature = p_feature AND NOT x.enabled
        AND x.changed_by = 'tollgate' AND x.cost_cap_usd IS NOT NULL;
    IF FOUND AND EXISTS (
            SELECT FROM unnest(p_moments) m
            WHERE m > f.changed_at - tollgate.reach('rolling_hour') AND m <= f.changed_at)
        AND tollgate.committed(f.feature, f.changed_at - tollgate.reach('rolling_hour'), f.changed_at)
            < f.cost_cap_usd THEN
        PERFORM tollgate.set_feature(p_feature, true, why, p_actor, p_at);
    END IF;
END $$;

-- Corrects what run `p_id`, or the direct spend of that id, cost, if its cost still is `p_old`. Gives
-- whether it was; nothing is written where not. The event comes first, in the same transaction.
CREATE OR REPLACE FUNCTION tollgate.correct_cost_v1(
    p_of text, p_id uuid, p_old numeric, p_new numeric, p_actor text, p_meta jsonb, p_request_id text
) RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
DECLARE
    r public.work_order_runs;
    d public.direct_spend;
    c public.run_charges;
    facts tollgate.facts;
    at timestamptz;
    moments timestamptz[];
    first_usd numeric;
    first_cost numeric;
    first_was numeric;
    unpaid numeric;
    part numeric;
    meta jsonb := p_meta || jsonb_build_object('before', tollgate.usd(p_old), 'after', tollgate.usd(p_new));
BEGIN
    -- (It runs with the owner's rights: it does what a correction on record says, and nothing else.)
    IF NOT EXISTS (SELECT FROM public.cost_corrections AS k
        WHERE k.id = (p_meta->>'correctionId')::bigint AND k.status = 'pending' AND k."of" = p_of
            AND k.subject_id = p_id AND k.old_usd = p_old AND k.new_usd = p_new AND p_new BETWEEN 0 AND 1000000) THEN
        RAISE EXCEPTION 'no such correction is on record' USING ERRCODE = 'check_violation';
    END IF;
    IF p_of = 'run' THEN
        PERFORM tollgate.share_limits();
        SELECT * INTO r FROM public.work_order_runs WHERE id = p_id FOR UPDATE;
        IF r.status = 'running' OR r.cost IS DISTINCT FROM p_old THEN
            RETURN false;
        END IF;
        facts := tollgate.run_facts(r);
    ELSE
        SELECT * INTO d FROM public.direct_spend WHERE id = p_id FOR UPDATE;
        IF d.cost_usd IS DISTINCT FROM p_old THEN
            RETURN false;
        END IF;
        facts := tollgate.spend_facts(d);
    END IF;
    PERFORM tollgate.hold_counters();
    at := tollgate.now();
    PERFORM tollgate.record(row('COST_CORRECTED', format('Cost of %s corrected from $%s to $%s: %s',
            CASE p_of WHEN 'run' THEN 'a run of ' || r.agent_name ELSE 'direct spend' END,
            tollgate.usd(p_old), tollgate.usd(p_new), p_meta->>'reason'),
        CASE p_of WHEN 'run' THEN 'work_order' ELSE 'direct_spend' END,
        CASE p_of WHEN 'run' THEN r.wo_id ELSE p_id::text END,
        coalesce((SELECT o.title FROM public.work_orders o WHERE o.id = r.wo_id), ''), p_actor,
        meta || CASE p_of WHEN 'run' THEN jsonb_build_object('woId', r.wo_id, 'runId', r.id, 'agentName', r.agent_name)
            ELSE jsonb_build_object('spendId', p_id) END, p_request_id)::tollgate.event);
    IF p_of = 'run' THEN
        SELECT r.reserved_usd - coalesce(sum(x.reserved_usd), 0), r.cost - coalesce(sum(x.settled_usd), 0),
            r.started_at || coalesce(array_agg(x.at) FILTER (WHERE x.at IS NOT NULL), '{}')
        INTO first_usd, first_was, moments FROM public.run_charges x WHERE x.run_id = r.id;
        first_cost := least(p_new, first_usd);
        unpaid := p_new - first_cost;
        UPDATE public.counters SET settled_usd = settled_usd + p_new - p_old
        WHERE key = ANY (tollgate.counter_keys(facts, r.started_at, false, true));
        UPDATE public.counters SET settled_usd = settled_usd + first_cost - first_was
        WHERE key = ANY (tollgate.counter_keys(facts, r.started_at, true, false));
        -- The extensions bear their part in the order they came, then what was an overrun already.
        FOR c IN SELECT * FROM public.run_charges x WHERE x.run_id = r.id ORDER BY x.kind, x.id LOOP
            part := least(unpaid, CASE c.kind WHEN 'extension' THEN c.reserved_usd ELSE c.settled_usd END);
            unpaid := unpaid - part;
            UPDATE public.counters SET settled_usd = settled_usd + part - coalesce(c.settled_usd, 0)
            WHERE key = ANY (tollgate.counter_keys(facts, c.at, true, false));
            UPDATE public.run_charges SET settled_usd = part WHERE id = c.id;
        END LOOP;
        IF unpaid > 0 THEN
            PERFORM tollgate.charge_later(r.id, 'overrun', facts, 0, unpaid, at);
        END IF;
        UPDATE public.work_order_runs SET cost = p_new, cost_note = 'corrected' WHERE id = r.id;
        PERFORM tollgate.renew_statistics(ARRAY[r.wo_id]);
        PERFORM tollgate.judge_again(r.feature, moments, p_actor, at);
        IF unpaid > 0 THEN
            PERFORM tollgate.trip_if_over(facts, at);
        END IF;
    ELSE
        UPDATE public.counters SET settled_usd = settled_usd + p_new - p_old
        WHERE key = ANY (tollgate.counter_keys(facts, d.at, false, false)
            || tollgate.counter_keys(facts, d.at, true, false));
        UPDATE public.direct_spend SET cost_usd = p_new WHERE id = d.id;
        PERFORM tollgate.judge_again(d.feature, ARRAY[d.at], p_actor, at);
        IF p_new > p_old THEN
            PERFORM tollgate.trip_if_over(facts, at);
        END IF;
    END IF;
    -- What it reported as telemetry, so that incidents and triage do not judge by it either.
    WITH reported AS (
        UPDATE public.inference_events e SET cost_usd = p_new
        WHERE e.event_id = p_id::text AND e.sender_id = 0 AND e.source IN ('run', 'spend')
        RETURNING e.created_at)
    INSERT INTO public.stale_hours (hour) SELECT date_trunc('hour', t.created_at, 'UTC') FROM reported t;
    RETURN true;
END $$;
