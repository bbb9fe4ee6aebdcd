-- The set: starts that are decided together, in order of arrival. It looks (once at each limit), judges, and writes.
-- See docs/locking.md for why each is decided as if it had come alone after those before it.

-- An ask of a set: the first check that refuses it whatever is counted, what it is charged to, and what its work order
-- has used.
CREATE TYPE tollgate.set_ask AS (
    start tollgate.start, refused tollgate.start_check,
    stops boolean,         -- the set ends before it
    counters bigint[], open_runs bigint, runs bigint, usd numeric
);
-- A limit, what is used of it before this set, and the asks that it covers.
CREATE TYPE tollgate.set_limit AS (
    charge tollgate.charge,
    first_slot timestamptz,     -- the oldest of a rolling window that holds something
    asked_by integer[]
);
CREATE TYPE tollgate.verdict AS (
    ask tollgate.set_ask, check_name tollgate.start_check, way tollgate.charge, first_slot timestamptz,
    in_doubt boolean       -- it depends on those before it
);
-- A start that the set refuses; `runs`, `usd`: what its work order had used of its day.
CREATE TYPE tollgate.refused_start AS (
    start tollgate.start, check_name tollgate.start_check, way tollgate.charge, first_slot timestamptz,
    runs bigint, usd numeric
);

-- The asks, each with the first check that refuses it whatever is counted. (Put into the query that asks.)
CREATE OR REPLACE FUNCTION tollgate.asked_starts(p_starts tollgate.start[], p_at timestamptz, p_confirm_over numeric)
RETURNS TABLE (
    s tollgate.start, refused tollgate.start_check, stops boolean, n integer, wo text, agent text, address text,
    surface text, feature text, model text, tier text, user_id text, team text, cost_dimension text, estimate numeric,
    tokens bigint, runs_per_day integer, usd_per_day numeric, max_concurrent_runs integer
) LANGUAGE sql STABLE AS $$
    WITH b AS MATERIALIZED (
        SELECT b.scope, b.subject, NOT tollgate.may_probe(b, p_at) AS waits,
            -- The probe may have died: its lease decides.
            b.state = 'half_open' AND EXISTS (SELECT FROM public.work_order_runs p
                CROSS JOIN LATERAL (SELECT x.id FROM public.work_order_runs x WHERE x.wo_id = p.wo_id
                    AND x.status = 'running' AND x.lease_expires_at <= p_at LIMIT 1) x
                WHERE p.id = b.probe_run_id) AS may_be_dead
        FROM public.circuit_breakers b WHERE b.state <> 'closed'),
    switches AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM public.kill_switches k WHERE k.enabled) AS some_killed,
            EXISTS (SELECT FROM b) AS some_tripped)
    SELECT s, z.refused,
        -- A probe, or what ends one, changes what the next are to see.
        coalesce((t.probes AND NOT t.waits AND z.refused >= 'breaker_open')
            OR (t.may_be_dead AND z.refused >= 'kill_switch'), false)
            OR (z.refused > 'replay' AND s.twin_of >= p_starts[1].n),
        s.n, s.wo, s.agent, host(s.address), s.surface, s.feature, s.model, s.tier, s.user_id, s.team, s.cost_dimension,
        s.estimate, s.tokens, s.runs_per_day, s.usd_per_day, s.max_concurrent_runs
    FROM unnest(p_starts) s CROSS JOIN switches w
    LEFT JOIN LATERAL (SELECT NOT x.enabled AS is_off FROM public.feature_flags x WHERE x.feature = s.feature OFFSET 0) f
        ON s.feature <> ''
    LEFT JOIN LATERAL (SELECT bool_or(b.waits) AS waits, bool_or(NOT b.waits) AS probes,
            bool_or(b.may_be_dead) AS may_be_dead
        FROM b WHERE b.scope = 'global' OR b.subject = s.wo) t ON w.some_tripped
    CROSS JOIN LATERAL (SELECT tollgate.first_refusal((s.answered).status IS NOT NULL, s.stale, s.status,
        w.some_killed AND (tollgate.kill_switch(s.surface, s.user_id, s.agent, s.lineage)).id IS NOT NULL,
        t.waits, f.is_off, s.agent_refused, s.unpriced, s.estimate > p_confirm_over AND NOT s.confirm) AS refused) z
$$;

-- The slots of a rolling window that count. (Put into the query that asks.)
CREATE OR REPLACE FUNCTION tollgate.slots_of(p_scope text, p_subject text, p_win text, p_at timestamptz)
RETURNS TABLE (usd numeric, tokens numeric, runs numeric, first_slot timestamptz) LANGUAGE sql STABLE AS $$
    SELECT sum(x.reserved_usd + x.settled_usd), sum(x.reserved_tokens + x.settled_tokens), sum(x.runs),
        min(x.starts_at) FILTER (WHERE x.runs > 0)
    FROM public.counters x
    WHERE x.scope || ':' || x.subject || ':' || x."window" = p_scope || ':' || p_subject || ':' || p_win
        AND x."window" IN ('rolling_minute', 'rolling_hour')
        AND x.starts_at > p_at - tollgate.reach(p_win) AND x.starts_at <= p_at
$$;

-- What there is under the lock: each limit and counter once. `tight`: the limits without room for all that is asked
-- for. `watched`: those with alerts, if one of them may pass a threshold. `missing`: counters to be made first.
CREATE OR REPLACE FUNCTION tollgate.look_at_set(
    p_starts tollgate.start[], p_at timestamptz, p_confirm_over numeric,
    OUT asks tollgate.set_ask[], OUT tight tollgate.set_limit[], OUT watched tollgate.set_limit[],
    OUT missing tollgate.counter[]
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    WITH c AS MATERIALIZED (
        SELECT * FROM tollgate.asked_starts(p_starts, p_at, p_confirm_over)),
    -- Every subject that something is counted of, with all that is asked for. (Of a work order also where
    -- nothing is: refusals say what it has used.)
    d AS MATERIALIZED (
        SELECT v.scope, v.subject, v.cover, count(*) FILTER (WHERE c.refused > 'feature_off') AS runs,
            sum(c.estimate) FILTER (WHERE c.refused > 'feature_off') AS usd,
            sum(c.tokens) FILTER (WHERE c.refused > 'feature_off') AS tokens,
            array_agg(c.n) FILTER (WHERE c.refused > 'feature_off') AS ns, min(c.runs_per_day) AS runs_per_day,
            min(c.usd_per_day) AS usd_per_day, min(c.max_concurrent_runs) AS max_concurrent_runs
        FROM c CROSS JOIN LATERAL tollgate.subjects_of(c.wo, c.agent, c.address, c.surface, c.feature, c.model,
            c.user_id, c.team, c.cost_dimension, c.tier) v
        WHERE v.subject IS NOT NULL
            AND (c.refused > 'feature_off' OR (v.scope = 'work_order' AND c.refused > 'unknown_work_order'))
        GROUP BY v.scope, v.subject, v.cover),
    -- Every limit that covers them: the rows of `budgets`, as in tollgate.charges; the caps of work orders;
    -- feature controls. And what has a counter in any case.
    l AS MATERIALIZED (
        SELECT x.* FROM (
            SELECT DISTINCT ON (d.scope, d.subject, b."window", b.measure)
                tollgate.check_of(b.scope, b."window", b.measure) AS check_name,
                b.id AS budget_id, d.scope, d.subject, b."window" AS win, b.measure,
                tollgate.amount_in_force(b.scope, b.measure, b.amount, d.runs_per_day, d.usd_per_day) AS amount,
                b.warning_amount, b.alert_percents, d.runs, d.usd, d.tokens, d.ns
            FROM d CROSS JOIN LATERAL (SELECT * FROM public.budgets b
                WHERE b.scope || ':' || b.subject = ANY (ARRAY[d.scope || ':' || d.cover, d.scope || ':*'])
                OFFSET 0) b
            ORDER BY d.scope, d.subject, b."window", b.measure, b.subject = '*') x
        UNION ALL
        SELECT v.check_name, NULL, d.scope, d.subject, v.win, v.measure, v.amount, NULL, NULL,
            d.runs, d.usd, d.tokens, d.ns
        FROM d LEFT JOIN LATERAL (SELECT * FROM public.feature_flags x WHERE x.feature = d.cover OFFSET 0) f
            ON d.scope IN ('feature', 'feature_user')
        CROSS JOIN LATERAL (VALUES
            ('concurrency'::tollgate.start_check, 'work_order', 'open', 'runs', d.max_concurrent_runs::numeric),
            ('runs_per_day', 'work_order', 'day', 'requests', d.runs_per_day::numeric),
            ('usd_per_day', 'work_order', 'day', 'usd', d.usd_per_day),
            ('none', 'global', 'open', 'runs', NULL), ('none', 'global', 'day', 'runs', NULL),
            ('feature_rate', 'feature_user', f.period, 'requests', f.requests_per_period::numeric),
            ('feature_cost', 'feature', 'rolling_hour', 'usd', f.cost_cap_usd)
        ) v (check_name, scope, win, measure, amount)
        WHERE d.scope = v.scope AND (v.amount IS NOT NULL OR v.scope IN ('global', 'work_order'))),
    -- Every counter, once.
    k AS MATERIALIZED (
        SELECT z.scope, z.subject, z.win, z.ns, t.starts_at, k.*, s.usd AS slots_usd, s.tokens AS slots_tokens,
            s.runs AS slots_runs, s.first_slot
        FROM (SELECT DISTINCT ON (l.scope, l.subject, l.win) l.* FROM l) z
        CROSS JOIN LATERAL (SELECT tollgate.begins(z.win, p_at) AS starts_at OFFSET 0) t
        LEFT JOIN LATERAL (SELECT c.id, c.runs, c.open_runs, c.reserved_usd + c.settled_usd AS used_usd,
                c.reserved_tokens + c.settled_tokens AS used_tokens
            FROM public.counters c
            WHERE c.key = tollgate.counter_key(z.scope, z.subject, z.win, t.starts_at) OFFSET 0) k ON true
        LEFT JOIN LATERAL tollgate.slots_of(z.scope, z.subject, z.win, p_at) s
            ON z.win IN ('rolling_minute', 'rolling_hour')),
    -- What is used of each limit, and what would be more.
    u AS MATERIALIZED (
        SELECT l.*, k.starts_at, k.id, k.first_slot,
            coalesce(CASE WHEN l.win IN ('rolling_minute', 'rolling_hour')
                THEN tollgate.used(l.measure, k.slots_usd, k.slots_tokens, k.slots_runs, k.slots_runs)
                ELSE tollgate.used(l.measure, k.used_usd, k.used_tokens, k.open_runs, k.runs) END, 0) AS used,
            coalesce(tollgate.used(l.measure, l.usd, l.tokens, l.runs, l.runs), 0) AS more
        FROM l JOIN k ON k.scope = l.scope AND k.subject = l.subject AND k.win = l.win),
    w AS NOT MATERIALIZED (
        SELECT u.*, row(u.check_name, u.budget_id, u.scope, u.subject, u.win, u.measure, u.amount, u.warning_amount,
            u.alert_percents, u.starts_at, u.id, u.used)::tollgate.charge AS charge
        FROM u WHERE u.ns IS NOT NULL)
    SELECT (SELECT array_agg(row(c.s, c.refused, c.stops, o.ids, v.open_runs, v.runs, v.usd)::tollgate.set_ask ORDER BY c.n)
            FROM c LEFT JOIN (SELECT x.n, array_agg(k.id) AS ids FROM k CROSS JOIN LATERAL unnest(k.ns) x (n)
                GROUP BY x.n) o ON o.n = c.n
            LEFT JOIN (SELECT k.subject, max(k.open_runs) FILTER (WHERE k.win = 'open') AS open_runs,
                    max(k.runs) FILTER (WHERE k.win = 'day') AS runs, max(k.used_usd) FILTER (WHERE k.win = 'day') AS usd
                FROM k WHERE k.scope = 'work_order' GROUP BY k.subject) v ON v.subject = c.wo),
        (SELECT array_agg(row(w.charge, w.first_slot, w.ns)::tollgate.set_limit) FROM w
         WHERE w.check_name < 'none' AND (tollgate.is_over(w.used, w.more, w.amount)
            OR (w.check_name = 'feature_cost' AND w.used + w.more >= w.amount))),
        (SELECT array_agg(row(w.charge, NULL, w.ns)::tollgate.set_limit) FROM w
         WHERE w.budget_id IS NOT NULL AND (w.warning_amount IS NOT NULL OR w.alert_percents <> '{}')
         HAVING bool_or(tollgate.crosses(w.charge, w.more))),
        (SELECT array_agg(row(k.scope, k.subject, k.win, k.starts_at)::tollgate.counter) FROM k WHERE k.id IS NULL)
    INTO asks, tight, watched, missing;
END $$;

-- Pure: which check refuses each ask, and whether it can be decided before earlier ones are written.
CREATE OR REPLACE FUNCTION tollgate.judge_set(p_asks tollgate.set_ask[], p_tight tollgate.set_limit[])
RETURNS SETOF tollgate.verdict LANGUAGE sql IMMUTABLE AS $$
    WITH c AS MATERIALIZED (
        SELECT a, a.refused, (a.start).n, (a.start).estimate, (a.start).tokens, (a.start).confirm FROM unnest(p_asks) a),
    -- For each who asks, whether a limit has room for that alone.
    p AS MATERIALIZED (
        SELECT t.i, (t.charge).check_name, coalesce((t.charge).budget_id, 0) AS budget_id, (t.charge).used,
            (t.charge).amount, (t.charge).win, t.charge, t.first_slot, c.n, m.own, m.alone_ok,
            tollgate.is_over((t.charge).used, m.own, (t.charge).amount)
                AND NOT (m.alone_ok AND (t.charge).used = 0) AS no_room
        FROM unnest(p_tight) WITH ORDINALITY t (charge, first_slot, asked_by, i)
        CROSS JOIN LATERAL unnest(t.asked_by) x (n) JOIN c ON c.n = x.n
        CROSS JOIN LATERAL (SELECT tollgate.measured((t.charge).measure, c.estimate, c.tokens) AS own,
            -- One costly run, started on purpose, may have a minute for itself.
            (t.charge).check_name = 'breaker_minute' AND c.confirm AND c.estimate > (t.charge).amount AS alone_ok) m),
    h AS MATERIALIZED (
        SELECT DISTINCT ON (p.n) p.* FROM p WHERE p.no_room ORDER BY p.n, p.check_name, p.budget_id),
    v AS MATERIALIZED (
        SELECT c.a, c.n, least(c.refused, h.check_name) AS check_name, coalesce(h.budget_id, 0) AS budget_id,
            CASE WHEN h.check_name < c.refused THEN h.charge END AS way, h.first_slot
        FROM c LEFT JOIN h ON h.n = c.n),
    -- With those before it that are not refused so.
    q AS MATERIALIZED (
        SELECT p.*, v.check_name AS refused_by, v.budget_id AS refused_budget,
            p.used + coalesce(sum(CASE WHEN v.check_name = 'none' THEN p.own END) OVER before, 0) AS used_before,
            count(*) FILTER (WHERE v.check_name = 'none') OVER before AS runs_before
        FROM p JOIN v ON v.n = p.n
        WINDOW before AS (PARTITION BY p.i ORDER BY p.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
    doubt AS MATERIALIZED (
        SELECT DISTINCT q.n FROM q
        WHERE ((q.check_name, q.budget_id) < (q.refused_by, q.refused_budget) AND (
                (tollgate.is_over(q.used_before, q.own, q.amount) AND NOT (q.alone_ok AND q.used_before = 0))
                -- (It uses the dollars of its feature up, which switches that off.)
                OR (q.check_name = 'feature_cost' AND q.used_before + q.own >= q.amount)))
            OR ((q.check_name, q.budget_id) = (q.refused_by, q.refused_budget)
                AND (q.check_name IN ('feature_cost', 'breaker_minute')
                -- (The answer is when the oldest slot leaves.)
                OR (q.win IN ('rolling_minute', 'rolling_hour') AND q.runs_before > 0))))
    SELECT v.a, v.check_name, v.way, v.first_slot, (v.a).stops OR doubt.n IS NOT NULL
    FROM v LEFT JOIN doubt ON doubt.n = v.n
$$;

-- Decides those before `upto`, or all (null). The one at `upto` needs what those before it leave behind; where it
-- is the first, it cannot be decided by a set, unless overdue runs are in its way: `reap` is the work order whose
-- are to be ended, empty for all. `p_reaped`, `p_reapers`: see tollgate.decide_starts.
CREATE OR REPLACE FUNCTION tollgate.decide_set(
    p_starts tollgate.start[], p_at timestamptz, p_reaped text[], p_reapers integer[],
    p_retry_after integer, p_confirm_over numeric, p_refusal_events integer,
    OUT answers text[], OUT flush boolean, OUT upto integer, OUT reap text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    look record;
    verdicts tollgate.verdict[];
    full_up record;
    admitted tollgate.admitted[];
    events tollgate.event[];
    refused tollgate.refused_start[];
    alerted integer[];
BEGIN
    FOR attempt IN 1..3 LOOP
        SELECT * INTO look FROM tollgate.look_at_set(p_starts, p_at, p_confirm_over);
        EXIT WHEN look.missing IS NULL;
        PERFORM tollgate.make_counters(look.missing);
    END LOOP;
    IF look.missing IS NOT NULL THEN
        RAISE EXCEPTION 'admission found no quiet moment' USING ERRCODE = 'lock_not_available';
    END IF;
    SELECT array_agg(v), min(((v.ask).start).n) FILTER (WHERE v.in_doubt) INTO verdicts, upto
    FROM tollgate.judge_set(look.asks, look.tight) v;
    -- Who is refused because too much runs at once, of the work order or of all, though some of it is overdue.
    SELECT s.n, o.whose INTO full_up FROM unnest(verdicts) v CROSS JOIN LATERAL (SELECT ((v.ask).start).*) s
    CROSS JOIN LATERAL (SELECT CASE WHEN v.check_name = 'concurrency' OR (v.way).scope = 'model_tier' THEN s.wo ELSE '' END
        AS whose) o
    WHERE v.check_name IN ('concurrency', 'shared_concurrency') AND coalesce(s.n < upto, true)
        AND NOT o.whose = ANY (p_reaped) AND NOT s.n = ANY (p_reapers)
        AND (SELECT true FROM public.work_order_runs x WHERE x.status = 'running'
            AND x.lease_expires_at <= p_at AND (o.whose = '' OR x.wo_id = o.whose) LIMIT 1)
    ORDER BY s.n LIMIT 1;
    upto := coalesce(full_up.n, upto);
    reap := full_up.whose;

    WITH g AS MATERIALIZED (
        SELECT (v.ask).start, (v.ask).counters, v.check_name, v.way, v.first_slot, s.n, s.estimate, s.tokens,
            tollgate.uuid7(p_at) AS run_id, (v.ask).open_runs + count(*) FILTER (WHERE z.clear) OVER before AS open_before,
            (v.ask).runs + count(*) FILTER (WHERE z.clear) OVER before AS runs_before,
            (v.ask).usd + coalesce(sum(s.estimate) FILTER (WHERE z.clear) OVER before, 0) AS usd_before
        FROM unnest(verdicts) v CROSS JOIN LATERAL (SELECT ((v.ask).start).*) s
        CROSS JOIN LATERAL (SELECT v.check_name = 'none' AS clear) z
        WHERE coalesce(s.n < upto, true)
        WINDOW before AS (PARTITION BY s.wo ORDER BY s.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
    sums AS MATERIALIZED (
        SELECT c.id, count(*) AS runs, sum(g.estimate) AS usd, sum(g.tokens) AS tokens
        FROM g CROSS JOIN LATERAL unnest(g.counters) c (id) WHERE g.check_name = 'none' GROUP BY c.id ORDER BY c.id),
    charged AS (
        UPDATE public.counters t SET runs = t.runs + sums.runs, open_runs = t.open_runs + sums.runs,
            reserved_usd = t.reserved_usd + sums.usd, reserved_tokens = t.reserved_tokens + sums.tokens
        FROM sums WHERE t.id = sums.id AND t.id = ANY (ARRAY(SELECT sums.id FROM sums)))
    SELECT array_agg(row(g.start, g.run_id, g.counters, tollgate.start_body(g.start, g.run_id, p_at, g.runs_before + 1,
            g.usd_before + g.estimate, g.open_before + 1))::tollgate.admitted ORDER BY g.n) FILTER (WHERE g.check_name = 'none'),
        array_agg(tollgate.start_event(g.start, g.run_id) ORDER BY g.n) FILTER (WHERE g.check_name = 'none'),
        array_agg(row(g.start, g.check_name, g.way, g.first_slot, g.runs_before, g.usd_before)::tollgate.refused_start
            ORDER BY g.n) FILTER (WHERE g.check_name < 'none')
    INTO admitted, events, refused FROM g;
    answers := '{}';
    IF admitted IS NOT NULL THEN
        PERFORM tollgate.keep_answers('start', p_at, VARIADIC ARRAY(SELECT row((a.start).lineage, (a.start).key,
            (a.start).fingerprint, a.body)::tollgate.kept FROM unnest(admitted) a WHERE (a.start).key <> ''));
        PERFORM tollgate.admit_starts(admitted, events, p_at);
        IF look.watched IS NOT NULL THEN
            SELECT array_agg(w.n) INTO alerted FROM tollgate.watch_starts(admitted, look.watched, p_at) w (n);
        END IF;
        answers := ARRAY(SELECT tollgate.answer_json((a.start).n, tollgate.granted(201, a.body, (a.start).estimate, NULL,
            coalesce((a.start).n = ANY (alerted), false))) FROM unnest(admitted) a);
    END IF;
    IF refused IS NOT NULL THEN
        answers := answers || tollgate.refuse_starts(refused, p_at, p_retry_after, p_confirm_over, p_refusal_events);
    END IF;
    flush := admitted IS NOT NULL OR EXISTS (SELECT FROM unnest(refused) f
        WHERE f.check_name = 'replay' AND ((f.start).answered).status = 201);
END $$;

-- Alerts for those admitted by a set: for each that passed a threshold, as tollgate.alert_charges does for one,
-- with what was used when its turn came. Returns the asks for which there is something new.
CREATE OR REPLACE FUNCTION tollgate.watch_starts(
    p_admitted tollgate.admitted[], p_watched tollgate.set_limit[], p_at timestamptz
) RETURNS SETOF integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    x record;
BEGIN
    FOR x IN
        WITH y AS (
            SELECT w.charge AS c, s.n, m.own, sum(m.own) OVER (PARTITION BY w.i ORDER BY s.n) AS more
            FROM unnest(p_watched) WITH ORDINALITY w (charge, first_slot, asked_by, i)
            CROSS JOIN LATERAL unnest(w.asked_by) k (n) JOIN unnest(p_admitted) a ON (a.start).n = k.n
            CROSS JOIN LATERAL (SELECT (a.start).*) s
            CROSS JOIN LATERAL (SELECT tollgate.measured((w.charge).measure, s.estimate, s.tokens) AS own) m),
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
    SELECT row(c.check_name, c.budget_id, c.scope, c.subject, c.win, c.measure, c.amount, c.warning_amount, c.alert_percents,
        c.starts_at, c.counter_id, c.used + more)::tollgate.charge
$$;

-- Says and records what a set has refused, in order.
CREATE OR REPLACE FUNCTION tollgate.refuse_starts(
    p_refused tollgate.refused_start[], p_at timestamptz, p_retry_after integer, p_confirm_over numeric,
    p_refusal_events integer
) RETURNS text[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    answers text[] := '{}'::text[];
    x tollgate.refused_start;
    s tollgate.start;
    l tollgate.look;
    a tollgate.answer;
BEGIN
    l.at := p_at;
    l.day_after := tollgate.day_after(p_retry_after, p_at);
    l.day_ends := date_trunc('day', p_at, 'UTC') + interval '1 day';
    FOREACH x IN ARRAY p_refused LOOP
        s := x.start;
        l.runs := x.runs;
        l.usd := x.usd;
        l.way := x.way;
        l.cured_at := tollgate.cured_at(x.way, p_at, x.first_slot);
        l.killed := CASE x.check_name WHEN 'kill_switch' THEN
            tollgate.kill_switch(s.surface, s.user_id, s.agent, s.lineage) END;
        l.tripped := CASE x.check_name WHEN 'breaker_open' THEN tollgate.waiting_breaker(s.wo, p_at) END;
        a := CASE x.check_name WHEN 'stale_prices' THEN tollgate.stale_prices()
            ELSE tollgate.start_refusal(x.check_name, s, l, p_confirm_over) END;
        IF x.check_name > 'unknown_work_order' THEN
            PERFORM tollgate.refuse_start(a, x.check_name, s, l, p_confirm_over, p_refusal_events);
        END IF;
        answers := answers || tollgate.answer_json(s.n, a);
    END LOOP;
    RETURN answers;
END $$;
