-- The set: starts that are decided by one statement, in order of arrival. See docs/locking.md for why each is
-- decided as if it had come alone after those before it.

-- A start that the set refuses. `place`: of the check that does it, times 1e12, and the limit; in order.
CREATE TYPE tollgate.refused_start AS (
    n integer, place bigint,
    runs bigint, usd numeric,   -- what its work order had used of its day
    way tollgate.charge,        -- the limit that refuses, if one does
    first_slot timestamptz      -- the oldest of a rolling window that holds something, before this set
);

-- A limit whose use passes a threshold of its alerts, or one of those that are looked at with it.
CREATE TYPE tollgate.watched AS (limit_now tollgate.charge, asked_by integer[]);

-- A number for each check, in the order of the design: ten times its number, and which part of it.
--   answered before 5, stale prices 10, unknown work order 20, kill switch 30, breaker 40, feature off 50, its
--   throttle 51, its cost cap 52, suspended 60, unknown agent 70, concurrency of the work order 80, other
--   concurrency 81, runs of the day 90, dollars of the day 100, quotas 110, shared budgets 120, no price 130, to be
--   confirmed 140, the minute of the breaker 150; 9900: nothing refuses it.
CREATE OR REPLACE FUNCTION tollgate.check_of(p_stage integer, p_scope text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_stage = 99 THEN 9900 WHEN p_stage = 8 THEN 81
        WHEN p_stage = 5 THEN CASE p_scope WHEN 'feature_user' THEN 51 ELSE 52 END ELSE p_stage * 10 END
$$;

-- Decides those before `upto`, or all (null). The one at `upto` needs what those before it leave behind; where it
-- is the first, it cannot be decided by a set, unless overdue runs are in its way: `reap` is the work order whose
-- are to be ended, empty for all. `p_reaped`, `p_reapers`: see tollgate.decide_starts.
CREATE OR REPLACE FUNCTION tollgate.decide_set(
    p_starts tollgate.start[], p_at timestamptz, p_reaped text[], p_reapers integer[],
    p_retry_after integer, p_confirm_over numeric, p_refusal_events integer,
    OUT answers text[], OUT flush boolean, OUT upto integer, OUT reap text
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    day timestamptz := date_trunc('day', p_at, 'UTC');
    r record;
    alerted integer[];
BEGIN
    answers := '{}';
    flush := false;
    -- Again where a counter had to be made.
    FOR attempt IN 1..3 LOOP
        WITH f AS MATERIALIZED (
            SELECT f.feature, f.enabled, f.period, f.requests_per_period, f.cost_cap_usd
            FROM (SELECT DISTINCT s.feature FROM unnest(p_starts) s WHERE s.feature <> '') d
            CROSS JOIN LATERAL (SELECT * FROM public.feature_flags x WHERE x.feature = d.feature OFFSET 0) f),
        b AS MATERIALIZED (
            SELECT b.scope, b.subject, NOT tollgate.may_probe(b, p_at) AS waits,
                -- The probe may have died: its lease decides.
                b.state = 'half_open' AND EXISTS (SELECT FROM public.work_order_runs p
                    CROSS JOIN LATERAL (SELECT x.id FROM public.work_order_runs x WHERE x.wo_id = p.wo_id
                        AND x.status = 'running' AND x.lease_expires_at <= p_at LIMIT 1) x
                    WHERE p.id = b.probe_run_id) AS may_be_dead
            FROM public.circuit_breakers b WHERE b.state <> 'closed'),
        switches AS MATERIALIZED (
            SELECT EXISTS (SELECT FROM public.kill_switches k WHERE k.enabled) AS some_killed,
                EXISTS (SELECT FROM b) AS some_tripped),
        -- The asks, each with the first check that refuses it whatever is counted.
        c AS MATERIALIZED (
            SELECT s.*, z.refused,
                -- A probe, or what ends one, changes what the next are to see.
                coalesce((t.probes AND NOT t.waits AND z.refused >= 40) OR (t.may_be_dead AND z.refused >= 30), false)
                    OR (z.refused > 5 AND s.twin_of >= p_starts[1].n) AS stops
            FROM unnest(p_starts) s CROSS JOIN switches w LEFT JOIN f ON f.feature = s.feature
            LEFT JOIN LATERAL (SELECT bool_or(b.waits) AS waits, bool_or(NOT b.waits) AS probes,
                    bool_or(b.may_be_dead) AS may_be_dead
                FROM b WHERE b.scope = 'global' OR b.subject = s.wo) t ON w.some_tripped
            CROSS JOIN LATERAL (SELECT CASE WHEN (s.said).status IS NOT NULL THEN 5 WHEN s.stale THEN 10 WHEN s.status IS NULL THEN 20
                WHEN w.some_killed
                    AND (tollgate.kill_switch(s.surface, s.user_id, s.agent, s.lineage)).id IS NOT NULL THEN 30
                WHEN t.waits THEN 40 WHEN NOT f.enabled THEN 50 WHEN s.status <> 'draft' THEN 60
                WHEN s.agent_refused THEN 70 WHEN s.unpriced THEN 130
                WHEN s.estimate > p_confirm_over AND NOT s.confirm THEN 140 ELSE 9900 END AS refused) z),
        -- Every subject that something is counted of, with all that is asked for. (Of a work order also where
        -- nothing is: refusals say what it has used.)
        d AS MATERIALIZED (
            SELECT v.scope, v.subject, v.cover, count(*) FILTER (WHERE c.refused > 50) AS runs,
                sum(c.estimate) FILTER (WHERE c.refused > 50) AS usd,
                sum(c.tokens) FILTER (WHERE c.refused > 50) AS tokens,
                array_agg(c.n) FILTER (WHERE c.refused > 50) AS ns, min(c.runs_per_day) AS runs_per_day,
                min(c.usd_per_day) AS usd_per_day, min(c.max_concurrent_runs) AS max_concurrent_runs
            FROM c CROSS JOIN LATERAL (VALUES ('global', '', ''), ('work_order', c.wo, c.wo),
                ('agent', nullif(c.agent, ''), c.agent), ('address', host(c.address), host(c.address)),
                ('surface', nullif(c.surface, ''), c.surface), ('feature', nullif(c.feature, ''), c.feature),
                ('model', nullif(c.model, ''), c.model), ('user', nullif(c.user_id, ''), c.user_id),
                ('team', nullif(c.team, ''), c.team),
                ('cost_dimension', nullif(c.cost_dimension, ''), c.cost_dimension),
                ('model_tier', c.wo || chr(31) || nullif(c.tier, ''), c.tier),
                ('feature_user', nullif(c.feature, '') || chr(31) || c.user_id, c.feature)
            ) v (scope, subject, cover)
            WHERE v.subject IS NOT NULL AND (c.refused > 50 OR (v.scope = 'work_order' AND c.refused > 20))
            GROUP BY v.scope, v.subject, v.cover),
        -- Every limit that covers them: the rows of `budgets`, as in tollgate.charges; the caps of work orders;
        -- feature controls. And what has a counter in any case.
        l AS MATERIALIZED (
            SELECT tollgate.check_of(x.stage, x.scope) AS check_no, x.*
            FROM (SELECT DISTINCT ON (d.scope, d.subject, b."window", b.measure)
                    tollgate.stage_of(b.scope, b."window", b.measure) AS stage,
                    b.id AS budget_id, d.scope, d.subject, b."window" AS win, b.measure,
                    CASE WHEN b.scope <> 'work_order' THEN b.amount
                        WHEN b.measure = 'usd' THEN d.usd_per_day ELSE d.runs_per_day END AS amount,
                    b.warning_amount, b.alert_percents, d.runs, d.usd, d.tokens, d.ns
                FROM d CROSS JOIN LATERAL (SELECT * FROM public.budgets b
                    WHERE b.scope || ':' || b.subject = ANY (ARRAY[d.scope || ':' || d.cover, d.scope || ':*'])
                    OFFSET 0) b
                ORDER BY d.scope, d.subject, b."window", b.measure, b.subject = '*') x
            UNION ALL
            SELECT v.check_no, v.check_no / 10, NULL, d.scope, d.subject, v.win, v.measure, v.amount, NULL, NULL,
                d.runs, d.usd, d.tokens, d.ns
            FROM d CROSS JOIN LATERAL (VALUES (80, 'open', 'runs', d.max_concurrent_runs::numeric),
                (90, 'day', 'requests', d.runs_per_day::numeric), (100, 'day', 'usd', d.usd_per_day)
            ) v (check_no, win, measure, amount)
            WHERE d.scope = 'work_order'
            UNION ALL
            SELECT 9900, 990, NULL, d.scope, d.subject, v.win, 'runs', NULL, NULL, NULL, d.runs, d.usd, d.tokens, d.ns
            FROM d CROSS JOIN LATERAL (VALUES ('open'), ('day')) v (win) WHERE d.scope = 'global'
            UNION ALL
            SELECT tollgate.check_of(5, d.scope), 5, NULL, d.scope, d.subject, v.win, v.measure, v.amount, NULL, NULL,
                d.runs, d.usd, d.tokens, d.ns
            FROM d JOIN f ON f.feature = d.cover
            CROSS JOIN LATERAL (VALUES ('feature_user', f.period, 'requests', f.requests_per_period::numeric),
                ('feature', 'rolling_hour', 'usd', f.cost_cap_usd)) v (scope, win, measure, amount)
            WHERE d.scope = v.scope AND v.amount IS NOT NULL),
        -- Every counter, once.
        k AS MATERIALIZED (
            SELECT z.scope, z.subject, z.win, z.ns, t.starts_at, k.*, s.*
            FROM (SELECT DISTINCT ON (l.scope, l.subject, l.win) l.* FROM l) z
            CROSS JOIN LATERAL (SELECT tollgate.begins(z.win, p_at) AS starts_at OFFSET 0) t
            LEFT JOIN LATERAL (SELECT c.id, c.runs, c.open_runs, c.reserved_usd + c.settled_usd AS used_usd,
                    c.reserved_tokens + c.settled_tokens AS used_tokens
                FROM public.counters c
                WHERE c.key = tollgate.counter_key(z.scope, z.subject, z.win, t.starts_at)
                OFFSET 0) k ON true
            LEFT JOIN LATERAL (SELECT sum(x.reserved_usd + x.settled_usd) AS slots_usd,
                    sum(x.reserved_tokens + x.settled_tokens) AS slots_tokens, sum(x.runs) AS slots_runs,
                    min(x.starts_at) FILTER (WHERE x.runs > 0) AS first_slot
                FROM public.counters x
                WHERE x.scope || ':' || x.subject || ':' || x."window" = z.scope || ':' || z.subject || ':' || z.win
                    AND x."window" IN ('rolling_minute', 'rolling_hour')
                    AND x.starts_at > p_at - tollgate.reach(z.win) AND x.starts_at <= p_at
                OFFSET 0) s ON z.win IN ('rolling_minute', 'rolling_hour')),
        -- What is used of each limit, and what would be more.
        u AS MATERIALIZED (
            SELECT l.*, k.starts_at, k.id, k.first_slot, z.used, z.more
            FROM l JOIN k ON k.scope = l.scope AND k.subject = l.subject AND k.win = l.win
            CROSS JOIN LATERAL (SELECT
                CASE WHEN l.win IN ('rolling_minute', 'rolling_hour') THEN coalesce(CASE l.measure
                    WHEN 'usd' THEN k.slots_usd WHEN 'tokens' THEN k.slots_tokens ELSE k.slots_runs END, 0)
                ELSE coalesce(CASE l.measure WHEN 'usd' THEN k.used_usd WHEN 'tokens' THEN k.used_tokens
                    WHEN 'runs' THEN k.open_runs ELSE k.runs END, 0) END AS used,
                coalesce(CASE l.measure WHEN 'usd' THEN l.usd WHEN 'tokens' THEN l.tokens ELSE l.runs END, 0) AS more
            ) z),
        -- Those without room for all that is asked for; and for each who asks whether it has room for that alone.
        tight AS MATERIALIZED (
            SELECT row_number() OVER () AS i, u.check_no, u.ns, u.measure, u.amount, u.win, u.used,
                u.first_slot, u.check_no * 1000000000000 + coalesce(u.budget_id, 0) AS place,
                row(u.stage, u.budget_id, u.scope, u.subject, u.win, u.measure, u.amount, u.warning_amount,
                    u.alert_percents, u.starts_at, u.id, u.used)::tollgate.charge AS charge
            FROM u
            WHERE u.check_no < 9900 AND u.ns IS NOT NULL AND (u.used >= u.amount OR u.used + u.more > u.amount
                OR (u.check_no = 52 AND u.used + u.more >= u.amount))),
        p AS MATERIALIZED (
            SELECT t.i, t.check_no, t.place, t.used, t.amount, t.win, t.charge, t.first_slot, x.n, m.own, c.refused, m.alone_ok,
                (t.used >= t.amount OR t.used + m.own > t.amount)
                    AND NOT (m.alone_ok AND t.used = 0) AS no_room
            FROM tight t CROSS JOIN LATERAL unnest(t.ns) x (n) JOIN c ON c.n = x.n
            CROSS JOIN LATERAL (SELECT tollgate.measured(t.measure, c.estimate, c.tokens) AS own,
                -- One costly run, started on purpose, may have a minute for itself.
                t.check_no = 150 AND c.confirm AND c.estimate > t.amount AS alone_ok) m),
        h AS MATERIALIZED (
            SELECT p.n, min(least(p.refused * 1000000000000, CASE WHEN p.no_room THEN p.place END)) AS place
            FROM p GROUP BY p.n),
        -- With those before it that are not refused so.
        q AS MATERIALIZED (
            SELECT p.*, h.place AS refused_at, p.used + sum(z.own) OVER before AS used_before,
                sum(z.one) OVER before AS runs_before
            FROM p JOIN h ON h.n = p.n
            CROSS JOIN LATERAL (SELECT CASE WHEN h.place >= 9900000000000000 THEN p.own ELSE 0 END AS own,
                CASE WHEN h.place >= 9900000000000000 THEN 1 ELSE 0 END AS one) z
            WINDOW before AS (PARTITION BY p.i ORDER BY p.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
        doubt AS MATERIALIZED (
            SELECT min(z.n) AS n FROM (
                SELECT c.n FROM c WHERE c.stops
                UNION ALL
                SELECT q.n FROM q CROSS JOIN LATERAL (SELECT coalesce(q.used_before, q.used) AS used_before) w
                WHERE (q.place < q.refused_at AND (
                        ((w.used_before >= q.amount OR w.used_before + q.own > q.amount)
                            AND NOT (q.alone_ok AND w.used_before = 0))
                        -- (It uses the dollars of its feature up, which switches that off.)
                        OR (q.check_no = 52 AND w.used_before + q.own >= q.amount)))
                    OR (q.place = q.refused_at AND (q.check_no IN (52, 150)
                        -- (When the oldest slot leaves is what is said.)
                        OR (q.win IN ('rolling_minute', 'rolling_hour') AND q.runs_before > 0)))) z),
        v AS MATERIALIZED (
            SELECT c.*, coalesce(h.place, c.refused * 1000000000000) AS place
            FROM c LEFT JOIN h ON h.n = c.n WHERE c.n < coalesce((SELECT doubt.n FROM doubt), 2147483647)),
        -- Who is refused because too much runs at once, of the work order or of all, though some of it is overdue.
        full_up AS MATERIALIZED (
            SELECT v.n, o.whose FROM v
            LEFT JOIN p ON p.n = v.n AND p.place = v.place AND p.check_no = 81
            CROSS JOIN LATERAL (SELECT CASE WHEN p.n IS NULL OR (p.charge).scope = 'model_tier' THEN v.wo ELSE '' END
                AS whose) o
            WHERE v.place >= 80000000000000 AND v.place < 90000000000000
                AND NOT o.whose = ANY (p_reaped) AND NOT v.n = ANY (p_reapers)
                AND (SELECT true FROM public.work_order_runs x WHERE x.status = 'running'
                    AND x.lease_expires_at <= p_at AND (o.whose = '' OR x.wo_id = o.whose) LIMIT 1)
            ORDER BY v.n LIMIT 1),
        cut AS MATERIALIZED (
            SELECT least((SELECT doubt.n FROM doubt), (SELECT full_up.n FROM full_up)) AS n),
        ready AS MATERIALIZED (
            SELECT NOT EXISTS (SELECT FROM k WHERE k.id IS NULL) AS yes),
        -- Each with what its work order has used when its turn comes.
        g AS MATERIALIZED (
            SELECT v.*, z.clear, o.open_runs + coalesce(sum(z.one) OVER before, 0) AS open_before,
                o.day_runs + coalesce(sum(z.one) OVER before, 0) AS runs_before,
                o.day_usd + coalesce(sum(CASE WHEN z.clear THEN v.estimate END) OVER before, 0) AS usd_before
            FROM v LEFT JOIN (
                SELECT k.subject, max(k.open_runs) FILTER (WHERE k.win = 'open') AS open_runs,
                    max(k.runs) FILTER (WHERE k.win = 'day') AS day_runs,
                    max(k.used_usd) FILTER (WHERE k.win = 'day') AS day_usd
                FROM k WHERE k.scope = 'work_order' GROUP BY k.subject) o ON o.subject = v.wo
            CROSS JOIN LATERAL (SELECT v.place >= 9900000000000000 AS clear,
                CASE WHEN v.place >= 9900000000000000 THEN 1 END AS one) z
            WHERE (SELECT ready.yes FROM ready) AND v.n < coalesce((SELECT cut.n FROM cut), 2147483647)
            WINDOW before AS (PARTITION BY v.wo ORDER BY v.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
        own AS MATERIALIZED (
            SELECT k.id, g.n, g.estimate, g.tokens
            FROM k CROSS JOIN LATERAL unnest(k.ns) x (n) JOIN g ON g.n = x.n WHERE g.clear),
        sums AS MATERIALIZED (
            SELECT own.id, count(*) AS runs, sum(own.estimate) AS usd, sum(own.tokens) AS tokens
            FROM own GROUP BY own.id),
        charged AS (
            UPDATE public.counters t SET runs = t.runs + sums.runs, open_runs = t.open_runs + sums.runs,
                reserved_usd = t.reserved_usd + sums.usd, reserved_tokens = t.reserved_tokens + sums.tokens
            FROM sums WHERE t.id = sums.id AND t.id = ANY (ARRAY(SELECT sums.id FROM sums))),
        run AS MATERIALIZED (
            SELECT x.*, tollgate.start_body(x.run_id, x.wo, x.estimate, x.lease_end, x.runs_per_day, x.usd_per_day,
                x.runs_before + 1, x.usd_before + x.estimate, x.open_before + 1) AS body
            FROM (
                SELECT g.*, tollgate.uuid7(p_at) AS run_id, p_at + make_interval(secs => g.lease) AS lease_end, o.ids
                FROM g JOIN (SELECT own.n, array_agg(own.id) AS ids FROM own GROUP BY own.n) o ON o.n = g.n
                WHERE g.clear OFFSET 0) x),
        runs AS (
            INSERT INTO public.work_order_runs (id, wo_id, agent_name, agent_known, status, reserved_usd,
                reserved_tokens, day, started_at, lease_expires_at, lease_seconds, model, model_tier,
                team, cost_dimension, user_id, surface, feature, source_ip, idempotency_key, token_id,
                sent_as, charged_to)
            SELECT x.run_id, x.wo, x.agent, x.agent_known, 'running', x.estimate, x.tokens,
                (day AT TIME ZONE 'UTC')::date, p_at, x.lease_end, x.lease, x.model, x.tier, x.team,
                x.cost_dimension, x.user_id, x.surface, x.feature, x.address, x.key, x.token_id, x.sent_as, x.ids
            FROM run x),
        records AS (
            INSERT INTO public.idempotency_records AS i (token_id, endpoint, key, fingerprint, answer, created_at)
            SELECT x.lineage, 'start', x.key, x.fingerprint, jsonb_build_object('body', x.body), p_at
            FROM run x WHERE x.key <> ''
            -- (One of more than 48 hours ago answers nothing any more.)
            ON CONFLICT (token_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint,
                answer = excluded.answer, created_at = excluded.created_at),
        events AS (
            INSERT INTO public.operations_events
                (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
            SELECT 'WORK_ORDER_START', x.agent || ' started', 'work_order', x.wo, x.title, x.actor,
                tollgate.start_meta(x.wo, x.title, x.agent, x.agent_known, x.run_id, x.address, x.estimate, x.key,
                    x.token_name),
                x.request_id
            FROM run x ORDER BY x.n)
        SELECT ready.yes AS done, (SELECT cut.n FROM cut) AS upto,
            (SELECT w.whose FROM full_up w JOIN cut ON cut.n = w.n) AS reap, m.*, x.*,
            (SELECT array_agg(row(g.n, g.place, g.runs_before, g.usd_before, p.charge, p.first_slot)::tollgate.refused_start
                ORDER BY g.n)
            FROM g LEFT JOIN p ON p.n = g.n AND p.place = g.place AND p.no_room WHERE NOT g.clear) AS refused,
            (SELECT array_agg(row(u.c, u.ns)::tollgate.watched)
            FROM (SELECT row(u.stage, u.budget_id, u.scope, u.subject, u.win, u.measure, u.amount, u.warning_amount,
                    u.alert_percents, u.starts_at, u.id, u.used)::tollgate.charge AS c, u.ns, u.more
                FROM u WHERE u.budget_id IS NOT NULL AND u.ns IS NOT NULL
                    AND (u.warning_amount IS NOT NULL OR u.alert_percents <> '{}') OFFSET 0) u
            HAVING bool_or(tollgate.crosses(u.c, u.more))) AS watched
        INTO r FROM ready
        CROSS JOIN (SELECT array_agg(k.scope) AS scopes, array_agg(k.subject) AS subjects, array_agg(k.win) AS wins,
            array_agg(k.starts_at) AS beginnings FROM k WHERE k.id IS NULL) m
        CROSS JOIN (SELECT array_agg(run.n ORDER BY run.n) AS ns, array_agg(run.estimate ORDER BY run.n) AS estimates,
            array_agg(run.body ORDER BY run.n) AS bodies FROM run) x;
        EXIT WHEN r.done;
        INSERT INTO public.counters (key, scope, subject, "window", starts_at)
        SELECT tollgate.counter_key(m.scope, m.subject, m.win, m.starts_at), m.scope, m.subject, m.win, m.starts_at
        FROM unnest(r.scopes, r.subjects, r.wins, r.beginnings) AS m (scope, subject, win, starts_at)
        ON CONFLICT DO NOTHING;
    END LOOP;
    IF r.done IS NOT TRUE THEN
        RAISE EXCEPTION 'admission found no quiet moment' USING ERRCODE = 'lock_not_available';
    END IF;
    upto := r.upto;
    reap := r.reap;
    IF r.ns IS NOT NULL THEN
        flush := true;
        SELECT array_agg(DISTINCT w.n) INTO alerted FROM tollgate.watch_starts(p_starts, r.ns, r.watched, p_at) w (n)
        WHERE r.watched IS NOT NULL;
        answers := ARRAY(SELECT tollgate.answer_json(x.n, row(201, '', NULL, NULL, NULL, false, x.body, x.estimate,
                NULL, x.n = ANY (coalesce(alerted, '{}')))::tollgate.answer)
            FROM unnest(r.ns, r.bodies, r.estimates) AS x (n, body, estimate));
    END IF;
    IF r.refused IS NOT NULL THEN
        answers := answers || tollgate.refuse_starts(p_starts, r.refused, p_at, p_retry_after, p_confirm_over,
            p_refusal_events);
        flush := flush OR EXISTS (SELECT FROM unnest(r.refused) f JOIN unnest(p_starts) s ON s.n = f.n
            WHERE f.place < 10000000000000 AND (s.said).status = 201);
    END IF;
END $$;

-- Alerts for those admitted by a set: for each that passed a threshold, as tollgate.alert_charges does for one,
-- with what was used when its turn came. Gives the asks for which there is something new.
CREATE OR REPLACE FUNCTION tollgate.watch_starts(
    p_starts tollgate.start[], p_admitted integer[], p_watched tollgate.watched[], p_at timestamptz
) RETURNS SETOF integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    x record;
BEGIN
    FOR x IN
        WITH w AS (
            SELECT row_number() OVER () AS i, t.limit_now, t.asked_by FROM unnest(p_watched) t),
        y AS (
            SELECT w.limit_now AS c, s.n, m.own, sum(m.own) OVER (PARTITION BY w.i ORDER BY s.n) AS more
            FROM w CROSS JOIN LATERAL unnest(w.asked_by) a (n) JOIN unnest(p_starts) s ON s.n = a.n
            CROSS JOIN LATERAL (
                SELECT tollgate.measured((w.limit_now).measure, s.estimate, s.tokens) AS own) m
            WHERE s.n = ANY (p_admitted)),
        z AS (
            SELECT y.n, y.own, b.before, b.after, bool_or(tollgate.crosses(b.before, y.own)) OVER (PARTITION BY y.n) AS crosses
            FROM y CROSS JOIN LATERAL (SELECT tollgate.used_more(y.c, y.more - y.own) AS before,
                tollgate.used_more(y.c, y.more) AS after) b)
        SELECT z.n, z.after AS c FROM z WHERE z.crosses ORDER BY z.n, (z.after).budget_id
    LOOP
        IF tollgate.alert_limit(x.c, p_at) > 0 THEN
            RETURN NEXT x.n;
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION tollgate.used_more(c tollgate.charge, more numeric) RETURNS tollgate.charge
LANGUAGE sql IMMUTABLE AS $$
    SELECT row(c.stage, c.budget_id, c.scope, c.subject, c.win, c.measure, c.amount, c.warning_amount, c.alert_percents,
        c.starts_at, c.counter_id, c.used + more)::tollgate.charge
$$;

-- Says and records what a set has refused, in order.
CREATE OR REPLACE FUNCTION tollgate.refuse_starts(
    p_starts tollgate.start[], p_refused tollgate.refused_start[], p_at timestamptz, p_retry_after integer,
    p_confirm_over numeric, p_refusal_events integer
) RETURNS text[] LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    tomorrow timestamptz := date_trunc('day', p_at, 'UTC') + interval '1 day';
    day_after integer := coalesce(p_retry_after, ceil(extract(epoch FROM tomorrow - p_at))::integer);
    answers text[] := '{}'::text[];
    x record;
    a tollgate.answer;
    cap text;
BEGIN
    FOR x IN SELECT s.*, f.place / 1000000000000 AS check_no, f.runs, f.usd, f.way, f.first_slot
        FROM unnest(p_refused) f JOIN unnest(p_starts) s ON s.n = f.n ORDER BY f.n
    LOOP
        cap := CASE WHEN x.check_no = 80 THEN x.max_concurrent_runs::text
            WHEN x.check_no = 90 THEN x.runs_per_day::text WHEN x.check_no = 100 THEN x.usd_per_day::text
            WHEN x.check_no = 140 THEN p_confirm_over::text
            WHEN x.check_no = 51 OR (x.way).measure = 'usd' THEN (x.way).amount::text
            ELSE (x.way).amount::bigint::text END;
        CASE x.check_no
            WHEN 5 THEN
                a := x.said;
            WHEN 10 THEN
                a := tollgate.refusal(0, 'stale_prices', (SELECT v.version::text FROM public.price_book_version v));
            WHEN 20 THEN
                a := tollgate.start_refusal(2);
            WHEN 30 THEN
                a := tollgate.killed(tollgate.kill_switch(x.surface, x.user_id, x.agent, x.lineage));
            WHEN 40 THEN
                a := tollgate.breaker_refusal(tollgate.waiting_breaker(x.wo, p_at), p_at);
            WHEN 50 THEN
                a := tollgate.start_refusal(5, x.feature);
            WHEN 60 THEN
                a := tollgate.start_refusal(6, x.status);
            WHEN 51, 81, 110, 120 THEN
                a := tollgate.limit_refusal(x.way, p_at, day_after, tollgate.cured_at(x.way, p_at, x.first_slot));
            ELSE   -- (Each takes of these what it says.)
                a := tollgate.start_refusal((x.check_no / 10)::integer, cap, CASE WHEN x.check_no IN (90, 100) THEN day_after END,
                    CASE WHEN x.check_no IN (90, 100) THEN tomorrow END);
        END CASE;
        IF x.check_no > 20 THEN
            PERFORM tollgate.refuse_start(a, x.way, x.wo, x.title, x.agent, x.feature,
                x.runs, x.usd, cap, x.estimate, x.key, x.address, x.lineage, x.actor, x.token_name, x.request_id,
                p_at, p_refusal_events);
        END IF;
        answers := answers || tollgate.answer_json(x.n, a);
    END LOOP;
    RETURN answers;
END $$;
