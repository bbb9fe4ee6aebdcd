-- The starts of a batch, decided by sets (docs/locking.md has the proof that nothing comes out otherwise
-- than one by one). tollgate.decide_starts takes them through these steps:
--
--   judge_starts       tokens; the locks of the work orders, where nobody has to be waited for
--   look_up_orders     each work order and agent once
--   hold_counters      then the clock
--   find_replays       keys that have an answer already
--   decide_set         (batch_set.sql) each limit once; decides from the first on, as many as it can
--   start_run_v1       the one that a set cannot decide; then again from find_replays on

-- Tokens, and the locks of the work orders. An ask whose work order somebody has alone is handed back:
-- a batch waits for nothing but the lock of the counters. `answers`: of those that are decided.
CREATE OR REPLACE FUNCTION tollgate.judge_starts(
    p_asks tollgate.ask[], OUT starts tollgate.start[], OUT answers text[]
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    due bigint[];     -- tokens whose last use is to be noted
    used_from inet[];
BEGIN
    WITH judged AS MATERIALIZED (
        SELECT a.n, b.refusal, b.token_id, b.use_due, a.address,
            b.refusal = '' AND NOT pg_try_advisory_xact_lock_shared(7401, hashtext(a.wo)) AS busy,
            row(a.n, CASE WHEN a.key <> '' THEN lag(a.n) OVER (PARTITION BY b.lineage, a.key ORDER BY a.n) END,
                coalesce(a.book_version <> (SELECT v.version FROM public.price_book_version v), false),
                a.address, a.wo, a.agent,
                -- Zero is an amount only where it was given in dollars.
                CASE WHEN a.estimate > 0 OR (a.estimate = 0 AND a.priced IS NULL) THEN a.estimate END,
                coalesce(a.estimate IS NULL AND NOT a.priced, false), a.lease, a.tokens, a.model, a.tier,
                a.user_id, coalesce(nullif(b.surface, ''), a.surface), coalesce(nullif(b.feature, ''), a.feature),
                a.confirm, a.key, a.fingerprint, a.request_id, a.sent_as, b.token_id, b.lineage, b.actor,
                b.token_name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            )::tollgate.start AS start
        FROM unnest(p_asks) a CROSS JOIN LATERAL tollgate.bearer_v1(a.digest, a.address, '{start}', a.wo) b
    ), noted AS (
        SELECT DISTINCT ON (j.token_id) j.token_id, j.address FROM judged j
        WHERE j.refusal = '' AND j.use_due ORDER BY j.token_id, j.n
    )
    SELECT (SELECT array_agg(j.start ORDER BY j.n) FILTER (WHERE j.refusal = '' AND NOT j.busy) FROM judged j),
        (SELECT array_agg(tollgate.answer_json(j.n, CASE WHEN j.busy THEN tollgate.refusal(0, 'alone', '')
            ELSE tollgate.token_refusal(j.refusal) END)) FROM judged j WHERE j.refusal <> '' OR j.busy),
        (SELECT array_agg(n.token_id ORDER BY n.token_id) FROM noted n),
        (SELECT array_agg(n.address ORDER BY n.token_id) FROM noted n)
    INTO starts, answers, due, used_from;
    FOR i IN 1..coalesce(cardinality(due), 0) LOOP
        PERFORM tollgate.note_token_use_v1(due[i], used_from[i]);
    END LOOP;
    answers := coalesce(answers, '{}');
END $$;

-- The work orders, the statistics that estimates come from, and the agents. `holds_until`: the earliest
-- moment at which a grant begins or ends, and all this must be looked up again.
CREATE OR REPLACE FUNCTION tollgate.look_up_orders(
    p_starts tollgate.start[], p_lift boolean, p_at timestamptz,
    OUT starts tollgate.start[], OUT holds_until timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    WITH s AS MATERIALIZED (SELECT * FROM unnest(p_starts)),
    w AS MATERIALIZED (
        SELECT d.wo, o.title, o.status, o.refuse_unknown_agents, o.team, o.cost_dimension, e.*,
            s.settled_runs, s.median_usd, s.p95_tokens,
            tollgate.default_usd(s.p95_usd, s.successful_runs, c.floor_usd, c.floor_runs, e.runs_per_day,
                e.usd_per_day) AS default_usd
        FROM (SELECT DISTINCT s.wo FROM s) d
        CROSS JOIN LATERAL (SELECT * FROM public.work_orders o WHERE o.id = d.wo OFFSET 0) o
        CROSS JOIN LATERAL tollgate.effective_caps(d.wo, p_at) e
        LEFT JOIN LATERAL (SELECT * FROM public.cost_statistics s WHERE s.wo_id = d.wo OFFSET 0) s ON true
        CROSS JOIN public.cost_rules c),
    g AS MATERIALIZED (
        SELECT d.agent, (SELECT true FROM public.agents a WHERE a.name = d.agent AND a.is_active) IS TRUE AS known
        FROM (SELECT DISTINCT s.agent FROM s) d)
    SELECT array_agg(row(s.n, s.twin_of, s.stale, s.address, s.wo, s.agent, s.asked, s.unpriced, s.lease,
            s.asked_tokens, s.model, s.tier, s.user_id, s.surface, s.feature, s.confirm, s.key, s.fingerprint,
            s.request_id, s.sent_as, s.token_id, s.lineage, s.actor, s.token_name, w.title, w.status,
            w.runs_per_day, w.usd_per_day, w.max_concurrent_runs, w.team, w.cost_dimension, g.known,
            w.refuse_unknown_agents AND NOT g.known,
            CASE WHEN p_lift AND w.settled_runs >= 20 THEN greatest(coalesce(s.asked, w.default_usd), w.median_usd)
                ELSE coalesce(s.asked, w.default_usd) END,
            coalesce(s.asked_tokens, w.p95_tokens, 0), NULL)::tollgate.start ORDER BY s.n),
        min(w.holds_until)
    INTO starts, holds_until
    FROM s JOIN g ON g.agent = s.agent LEFT JOIN w ON w.wo = s.wo;
END $$;

-- What has been answered under its key before is answered the same. Asked under the lock of the counters, which every
-- start that writes such an answer has: what is not there now comes from none.
CREATE OR REPLACE FUNCTION tollgate.find_replays(INOUT starts tollgate.start[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    x record;
BEGIN
    FOR x IN
        SELECT s.i, tollgate.replay_of(r.fingerprint, s.fingerprint, 201, r.answer->>'body') AS answered
        FROM (SELECT row_number() OVER () AS i, t.* FROM unnest(starts) t) s
        CROSS JOIN LATERAL (
            SELECT r.fingerprint, r.answer FROM public.idempotency_records r
            WHERE r.token_id = s.lineage AND r.endpoint = 'start' AND r.key = s.key
                AND r.created_at > tollgate.now() - interval '48 hours'
            OFFSET 0) r
        WHERE s.key <> ''
    LOOP
        IF (x.answered).replayed THEN
            x.answered.body := tollgate.replayed_start((x.answered).body);
            PERFORM tollgate.confirm_commit();
        END IF;
        starts[x.i].answered := x.answered;
    END LOOP;
END $$;

-- Decides them all. Not more than sixteen sets and single asks: the others are handed back, so that
-- nobody waits longer for the lock of the counters than for that.
CREATE OR REPLACE FUNCTION tollgate.decide_starts(
    p_asks tollgate.ask[], p_retry_after integer, p_lift boolean, p_confirm_over numeric,
    p_refusal_events integer, OUT answers text[], OUT flush boolean
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    starts tollgate.start[];     -- those to be decided still
    decided record;
    at timestamptz;
    holds_until timestamptz;
    keyed boolean;
    one_by_one boolean := false;
    reaped text[] := '{}'::text[]; -- work orders whose overdue runs were ended; empty: of all
    reapers integer[] := '{}'::integer[]; -- the asks that found them full
    q tollgate.ask;
    a tollgate.answer;
BEGIN
    flush := false;
    SELECT j.starts, j.answers INTO starts, answers FROM tollgate.judge_starts(p_asks) j;
    IF starts IS NULL THEN
        RETURN;
    END IF;
    SELECT bool_or(s.key <> '') INTO keyed FROM unnest(starts) s;
    SELECT o.starts, o.holds_until INTO starts, holds_until
    FROM tollgate.look_up_orders(starts, p_lift, tollgate.now()) o;
    -- Taken outside of the blocks below, as the other locks: a block that fails gives back what it took.
    PERFORM tollgate.hold_counters();
    FOR round IN 1..16 LOOP
        EXIT WHEN coalesce(cardinality(starts), 0) = 0;
        at := tollgate.now();
        IF at >= holds_until THEN
            SELECT o.starts, o.holds_until INTO starts, holds_until FROM tollgate.look_up_orders(starts, p_lift, at) o;
        END IF;
        IF NOT one_by_one THEN
            BEGIN
                IF keyed THEN
                    starts := tollgate.find_replays(starts);
                END IF;
                SELECT d.* INTO decided FROM tollgate.decide_set(starts, at, reaped, reapers, p_retry_after,
                    p_confirm_over, p_refusal_events) d;
                -- Room may be held by runs that never reported: no job is needed to be right.
                IF decided.reap IS NOT NULL AND decided.upto = starts[1].n THEN
                    reapers := reapers || decided.upto;
                    IF tollgate.reap_v1(nullif(decided.reap, ''), 50) = 0 THEN
                        reaped := reaped || decided.reap;
                    END IF;
                END IF;
            EXCEPTION WHEN OTHERS THEN
                -- Whatever it was: the set is undone as a whole, and the failure of one is its own.
                EXIT WHEN SQLSTATE = '55P03';
                one_by_one := true;
                RAISE WARNING 'a batch is decided one by one: % (%)', SQLERRM, SQLSTATE;
            END;
            IF NOT one_by_one THEN
                answers := answers || decided.answers;
                flush := flush OR decided.flush;
                starts := CASE WHEN decided.upto IS NOT NULL THEN
                    ARRAY(SELECT s FROM unnest(starts) s WHERE s.n >= decided.upto ORDER BY s.n) END;
                CONTINUE WHEN decided.upto IS NULL OR decided.reap IS NOT NULL OR cardinality(decided.answers) > 0;
            END IF;
        END IF;
        SELECT x.* INTO q FROM unnest(p_asks) x WHERE x.n = starts[1].n;
        a := tollgate.decide_alone(q, p_retry_after, p_lift, p_confirm_over, p_refusal_events);
        EXIT WHEN a.status = 0 AND a.error = '55P03';   -- somebody would have to be waited for
        flush := flush OR a.status = 201 OR coalesce(a.alerted, false);
        answers := answers || tollgate.answer_json(q.n, a);
        starts := starts[2:];
    END LOOP;
    answers := answers || ARRAY(SELECT tollgate.answer_json(s.n, tollgate.refusal(0, 'alone', ''))
        FROM unnest(starts) s);
END $$;
