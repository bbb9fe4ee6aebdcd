-- Shared limits: which of them cover an ask, what is used of each, and what a crossing does.

-- What an ask, a run or a reported call is about: the subjects that limits are held over, in the
-- order of tollgate.scopes(). Null: that scope does not apply, for example a quota of users where no
-- user was named. `covers` are the keys `scope:subject` of the rows of `budgets` that may cover it, those
-- for each (`*`) included; a row whose scope does not apply is dropped in the end, since it has no
-- subject. A tier's row names the tier alone. No scope holds a colon, so a name may.
CREATE TYPE tollgate.facts AS (
    wo_id text, feature text, model_tier text, subjects text[], covers text[],
    runs_per_day integer, usd_per_day numeric   -- the caps in force; null where they do not matter
);

CREATE OR REPLACE FUNCTION tollgate.scopes() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{global,surface,feature,model,agent,user,team,cost_dimension,address,work_order,model_tier,feature_user}'::text[]
$$;

-- Parts are joined by a control character, which no name may hold. Those who name no user share one
-- throttle of a feature: leaving the name out is no way around it.
CREATE OR REPLACE FUNCTION tollgate.facts_of(
    wo_id text, agent text, user_id text, surface text, feature text, model text, tier text, team text,
    cost_dimension text, address text, runs_per_day integer, usd_per_day numeric
) RETURNS tollgate.facts LANGUAGE sql IMMUTABLE AS $$
    SELECT row(wo_id, feature, tier,
        ARRAY['', nullif(surface, ''), nullif(feature, ''), nullif(model, ''), nullif(agent, ''),
            nullif(user_id, ''), nullif(team, ''), nullif(cost_dimension, ''), nullif(address, ''),
            nullif(wo_id, ''), nullif(wo_id, '') || chr(31) || nullif(tier, ''),
            nullif(feature, '') || chr(31) || user_id],
        ARRAY['global:', 'surface:*', 'feature:*', 'model:*', 'agent:*', 'user:*', 'team:*',
            'cost_dimension:*', 'address:*', 'work_order:*', 'model_tier:*',
            'surface:' || nullif(surface, ''), 'feature:' || nullif(feature, ''),
            'model:' || nullif(model, ''), 'agent:' || nullif(agent, ''),
            'user:' || nullif(user_id, ''), 'team:' || nullif(team, ''),
            'cost_dimension:' || nullif(cost_dimension, ''), 'address:' || nullif(address, ''),
            'work_order:' || nullif(wo_id, ''), 'model_tier:' || nullif(tier, '')],
        runs_per_day, usd_per_day)::tollgate.facts
$$;

-- The same as rows: the subject, and what a row of `budgets` names it by. (Put into the query that asks.)
CREATE OR REPLACE FUNCTION tollgate.subjects_of(
    wo_id text, agent text, address text, surface text, feature text, model text, user_id text, team text,
    cost_dimension text, tier text
) RETURNS TABLE (scope text, subject text, cover text) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM (VALUES ('global', '', ''), ('work_order', wo_id, wo_id), ('agent', nullif(agent, ''), agent),
        ('address', address, address), ('surface', nullif(surface, ''), surface),
        ('feature', nullif(feature, ''), feature), ('model', nullif(model, ''), model),
        ('user', nullif(user_id, ''), user_id), ('team', nullif(team, ''), team),
        ('cost_dimension', nullif(cost_dimension, ''), cost_dimension),
        ('model_tier', wo_id || chr(31) || nullif(tier, ''), tier),
        ('feature_user', nullif(feature, '') || chr(31) || user_id, feature)) v (scope, subject, cover)
$$;

-- One limit that covers it, with the counter (or the sum of the slots) that it is held against.
CREATE TYPE tollgate.charge AS (
    check_name tollgate.start_check,   -- none: it only alerts
    budget_id bigint,           -- null for what a feature control says
    scope text, subject text, win text, measure text,
    amount numeric,             -- null: limits nothing, is counted
    warning_amount numeric, alert_percents smallint[],
    starts_at timestamptz,      -- of the counter, or of the present slot
    counter_id bigint,          -- null: there is no such row yet
    used numeric                -- settled and reserved
);

CREATE OR REPLACE FUNCTION tollgate.subject(scope text, f tollgate.facts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT f.subjects[array_position(tollgate.scopes(), scope)]
$$;

-- Where the window, or the slot of a rolling one, begins.
CREATE OR REPLACE FUNCTION tollgate.begins(win text, at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE win
        WHEN 'open' THEN 'epoch'::timestamptz
        WHEN 'rolling_minute' THEN date_bin('5 seconds', at, 'epoch'::timestamptz)
        WHEN 'rolling_hour' THEN date_bin('1 minute', at, 'epoch'::timestamptz)
        WHEN 'minute' THEN date_bin('1 minute', at, 'epoch'::timestamptz)
        WHEN 'hour' THEN date_bin('1 hour', at, 'epoch'::timestamptz)
        ELSE date_trunc(win, at, 'UTC')
    END
$$;

CREATE OR REPLACE FUNCTION tollgate.windows() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{open,rolling_minute,rolling_hour,minute,hour,day,month}'::text[]
$$;

-- What the keys of the present counters begin with, in that order.
CREATE OR REPLACE FUNCTION tollgate.slots(at timestamptz) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT ARRAY[tollgate.slot_key('open', tollgate.begins('open', at)),
        tollgate.slot_key('rolling_minute', tollgate.begins('rolling_minute', at)),
        tollgate.slot_key('rolling_hour', tollgate.begins('rolling_hour', at)),
        tollgate.slot_key('minute', tollgate.begins('minute', at)),
        tollgate.slot_key('hour', tollgate.begins('hour', at)),
        tollgate.slot_key('day', tollgate.begins('day', at)),
        tollgate.slot_key('month', tollgate.begins('month', at))]
$$;

-- How far back the slots of a rolling window count: one slot more than its length, since the oldest
-- may hold what was spent at its very end. So no 60 seconds ever hold more than the limit.
CREATE OR REPLACE FUNCTION tollgate.reach(win text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE win WHEN 'rolling_minute' THEN interval '65 seconds' ELSE interval '61 minutes' END
$$;

-- The earliest slot that counts at that moment; for the index, which a CASE over the slots is not.
CREATE OR REPLACE FUNCTION tollgate.counts_from(win text, at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN win IN ('rolling_minute', 'rolling_hour')
        THEN at - tollgate.reach(win) + interval '1 microsecond'
        ELSE tollgate.begins(win, at) END
$$;

-- When time cures a limit that is used up: null for what only the end of a run cures. `first_slot`: the oldest of
-- its slots that holds something, which is the next to leave; null: none does.
CREATE OR REPLACE FUNCTION tollgate.cured_at(c tollgate.charge, at timestamptz, first_slot timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN c.win = 'open' THEN NULL
        WHEN c.win IN ('rolling_minute', 'rolling_hour') THEN coalesce(first_slot, at) + tollgate.reach(c.win)
        ELSE tollgate.begins(c.win, at) + CASE c.win WHEN 'month' THEN interval '1 month'
            WHEN 'day' THEN interval '1 day' WHEN 'hour' THEN interval '1 hour'
            ELSE interval '1 minute' END
    END
$$;
CREATE OR REPLACE FUNCTION tollgate.cured_at(c tollgate.charge, at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT tollgate.cured_at(c, at, CASE WHEN c.win IN ('rolling_minute', 'rolling_hour') THEN (
        SELECT min(k.starts_at) FROM public.counters k
        WHERE k.scope || ':' || k.subject || ':' || k."window" = c.scope || ':' || c.subject || ':' || c.win
            AND k."window" IN ('rolling_minute', 'rolling_hour') AND k.starts_at > at - tollgate.reach(c.win)
            AND k.starts_at <= at AND k.runs > 0) END)
$$;

CREATE OR REPLACE FUNCTION tollgate.measured(measure text, usd numeric, tokens bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE measure WHEN 'usd' THEN usd WHEN 'tokens' THEN tokens ELSE 1 END
$$;

-- What a row of `budgets` allows: for a work order its cap in force, which the row only alerts about.
CREATE OR REPLACE FUNCTION tollgate.amount_in_force(
    scope text, measure text, amount numeric, runs_per_day integer, usd_per_day numeric
) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN scope <> 'work_order' THEN amount WHEN measure = 'usd' THEN usd_per_day ELSE runs_per_day END
$$;

-- What of a counter a limit of that measure is held against.
CREATE OR REPLACE FUNCTION tollgate.used(measure text, usd numeric, tokens numeric, open_runs numeric, runs numeric)
RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE measure WHEN 'usd' THEN usd WHEN 'tokens' THEN tokens WHEN 'runs' THEN open_runs ELSE runs END
$$;

-- How many runs of that scope have outlived their lease. (In plpgsql, which is not put into the query that
-- asks: nobody but a dry run needs it, and everybody would pay for its plan.)
CREATE OR REPLACE FUNCTION tollgate.overdue(p_scope text, f tollgate.facts, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT count(*) FROM public.work_order_runs r
        WHERE r.status = 'running' AND r.lease_expires_at <= p_at
            AND (p_scope = 'global' OR (r.wo_id = f.wo_id AND r.model_tier = f.model_tier)));
END $$;

-- All limits that cover these facts now, and the counters that are kept for them. Everything that is
-- shared is read and written under the one lock of all (docs/locking.md). A row for a name wins
-- over the row for each. `p_dry`: runs whose lease is over count no more, since they would be reaped.
CREATE OR REPLACE FUNCTION tollgate.charges(f tollgate.facts, p_at timestamptz, p_dry boolean)
RETURNS SETOF tollgate.charge LANGUAGE sql STABLE AS $$
    SELECT l.check_name, l.id, l.scope, l.subject, l.win, l.measure, l.amount, l.warning_amount,
        l.alert_percents, tollgate.begins(l.win, p_at), k.id,
        CASE WHEN l.win IN ('rolling_minute', 'rolling_hour') THEN (
            SELECT coalesce(sum(tollgate.used(l.measure, s.reserved_usd + s.settled_usd,
                s.reserved_tokens + s.settled_tokens, s.runs, s.runs)), 0)
            FROM public.counters s
            -- (By the index of this expression. By the columns, a session that planned while there were ten
            -- counters read the slots of all users, on PostgreSQL 15.)
            WHERE s.scope || ':' || s.subject || ':' || s."window" = l.scope || ':' || l.subject || ':' || l.win
                AND s."window" IN ('rolling_minute', 'rolling_hour')
                AND s.starts_at > p_at - tollgate.reach(l.win) AND s.starts_at <= p_at)
        ELSE coalesce(tollgate.used(l.measure, k.reserved_usd + k.settled_usd, k.reserved_tokens + k.settled_tokens,
            k.open_runs - CASE WHEN p_dry THEN tollgate.overdue(l.scope, f, p_at) ELSE 0 END, k.runs), 0)
        END
    FROM (
        (SELECT DISTINCT ON (b.scope, b."window", b.measure)
            tollgate.check_of(b.scope, b."window", b.measure) AS check_name, b.id, b.scope,
            tollgate.subject(b.scope, f) AS subject, b."window" AS win, b.measure,
            tollgate.amount_in_force(b.scope, b.measure, b.amount, f.runs_per_day, f.usd_per_day) AS amount,
            b.warning_amount, b.alert_percents
        FROM public.budgets b WHERE b.scope || ':' || b.subject = ANY (f.covers)
        ORDER BY b.scope, b."window", b.measure, b.subject = '*')
        UNION ALL
        SELECT v.check_name, NULL, v.scope, v.subject, v.win, v.measure, v.amount, NULL, '{}'
        FROM public.feature_flags c CROSS JOIN LATERAL (VALUES
            ('feature_rate'::tollgate.start_check, 'feature_user', f.subjects[12], c.period, 'requests',
                c.requests_per_period::numeric),
            ('feature_cost', 'feature', c.feature, 'rolling_hour', 'usd', c.cost_cap_usd)
        ) AS v (check_name, scope, subject, win, measure, amount)
        WHERE c.feature = f.feature AND v.amount IS NOT NULL
    ) l
    -- One look-up for each, by the one text, whatever the planner thinks of the size of the table at the
    -- time: as a join it was planned, while there were ten counters, to read all of a limit's past slots
    -- (by three of the four columns of an index), or all counters there are.
    LEFT JOIN LATERAL (
        SELECT c.id, c.runs, c.open_runs, c.reserved_usd, c.settled_usd, c.reserved_tokens, c.settled_tokens
        FROM public.counters c
        WHERE c.key = tollgate.key_in_slot((SELECT tollgate.slots(p_at))[array_position(tollgate.windows(), l.win)],
            l.scope, l.subject)
        OFFSET 0) k ON true
    WHERE l.subject IS NOT NULL
    -- Put into the query that asks, this would be computed anew wherever a column is named.
    OFFSET 0
$$;

-- Windows that an extension and an overrun are charged to at their own moment; day and month are
-- those of the start.
CREATE OR REPLACE FUNCTION tollgate.is_short(win text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT win IN ('rolling_minute', 'minute', 'rolling_hour', 'hour')
$$;

CREATE OR REPLACE FUNCTION tollgate.run_facts(
    r public.work_order_runs
) RETURNS tollgate.facts LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.facts_of(r.wo_id, r.agent_name, r.user_id, r.surface, r.feature, r.model,
        r.model_tier, r.team, r.cost_dimension, host(r.source_ip), NULL, NULL)
$$;

CREATE OR REPLACE FUNCTION tollgate.call_facts(
    agent text, user_id text, surface text, feature text, model text, address inet
) RETURNS tollgate.facts LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.facts_of('', agent, user_id, surface, feature, model, '', '', 'llm_api', host(address), NULL, NULL)
$$;
CREATE OR REPLACE FUNCTION tollgate.spend_facts(d public.direct_spend) RETURNS tollgate.facts
LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.call_facts(d.agent_name, d.user_id, d.surface, d.feature, d.model, d.source_ip)
$$;

-- The counters of the present short windows (`p_short`) or of all windows but `open`, made where
-- there are none. The caller has the lock of all.
CREATE OR REPLACE FUNCTION tollgate.present_counters(f tollgate.facts, p_at timestamptz, p_short boolean)
RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids bigint[];
    missing tollgate.counter[];
BEGIN
    LOOP
        SELECT array_agg(DISTINCT c.counter_id),
            array_agg(row(c.scope, c.subject, c.win, c.starts_at)::tollgate.counter)
                FILTER (WHERE c.counter_id IS NULL)
        INTO ids, missing FROM tollgate.charges(f, p_at, false) c
        WHERE c.win <> 'open' AND (NOT p_short OR tollgate.is_short(c.win));
        EXIT WHEN missing IS NULL;
        PERFORM tollgate.make_counters(missing);
    END LOOP;
    RETURN coalesce(ids, '{}');
END $$;

-- A number as people read it, in the unit of its measure.
CREATE OR REPLACE FUNCTION tollgate.amount(measure text, amount numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE measure WHEN 'usd' THEN '$' || to_char(amount, 'FM999,999,999,990.00')
        ELSE to_char(amount, 'FM999,999,999,999,990') || ' ' || measure END
$$;

-- One occurrence is reported once: `p_key` identifies it. Returns whether it was new.
CREATE OR REPLACE FUNCTION tollgate.alert(
    p_kind text, p_key text, p_message text, p_owner_type text, p_owner_id text, p_meta jsonb,
    p_at timestamptz
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO public.alerts (kind, key, message, owner_type, owner_id, actor, meta, created_at)
    VALUES (p_kind, p_key, p_message, p_owner_type, p_owner_id,
        -- (A person who acts, else nobody but us.)
        coalesce(nullif(current_setting('tollgate.actor', true), ''), 'tollgate'), p_meta, p_at)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION tollgate.record_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.record(row(upper(NEW.kind), NEW.message, NEW.owner_type, NEW.owner_id, '', NEW.actor, NEW.meta, '')
        ::tollgate.event);
    RETURN NULL;
END $$;
-- (Of a kill switch the row's own trigger tells, with what was and what is.)
CREATE OR REPLACE TRIGGER record_alert AFTER INSERT ON public.alerts
    FOR EACH ROW WHEN (NEW.kind <> 'kill_switch') EXECUTE FUNCTION tollgate.record_alert();

-- Whether `used` going up by `more` passes a threshold of this limit.
CREATE OR REPLACE FUNCTION tollgate.crosses(
    c tollgate.charge, more numeric
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(c.used < c.warning_amount AND c.used + more >= c.warning_amount, false)
        -- (The percents are sorted. Is the first reached? If so, how many are, before and after?)
        OR CASE WHEN (c.used + more) * 100 >= c.amount * c.alert_percents[1]
            THEN width_bucket(c.used * 100 / c.amount, c.alert_percents::numeric[])
                <> width_bucket((c.used + more) * 100 / c.amount, c.alert_percents::numeric[])
            ELSE false END
$$;

CREATE OR REPLACE FUNCTION tollgate.sort_percents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.alert_percents := ARRAY(SELECT DISTINCT p FROM unnest(NEW.alert_percents) p WHERE p > 0 ORDER BY p);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER sort_percents BEFORE INSERT OR UPDATE OF alert_percents ON public.budgets
    FOR EACH ROW EXECUTE FUNCTION tollgate.sort_percents();

-- What every moment was charged with, from the rows that counters stand for. `long`: as the day and
-- the month have it (all of a run at its start); the others as the hour and the minute have it.
CREATE OR REPLACE VIEW tollgate.entries AS
    SELECT r.started_at AS at, tollgate.run_facts(r) AS facts, 1 AS runs,
        (r.status = 'running')::integer AS open_runs,
        CASE WHEN r.status = 'running' THEN r.reserved_usd ELSE 0 END AS reserved_long,
        coalesce(r.cost, 0) AS settled_long,
        CASE WHEN r.status = 'running' THEN r.reserved_usd - coalesce(x.extended, 0) ELSE 0 END
            AS reserved_short,
        coalesce(r.cost, 0) - coalesce(x.settled, 0) AS settled_short,
        CASE WHEN r.status = 'running' THEN r.reserved_tokens ELSE 0 END AS reserved_tokens,
        coalesce(r.tokens, 0) AS settled_tokens
    FROM public.work_order_runs r LEFT JOIN (
        SELECT run_id, sum(reserved_usd) AS extended, sum(settled_usd) AS settled
        FROM public.run_charges GROUP BY run_id) x ON x.run_id = r.id
    UNION ALL
    SELECT c.at, tollgate.run_facts(r), 0, 0, 0, 0,
        CASE WHEN r.status = 'running' THEN c.reserved_usd ELSE 0 END, coalesce(c.settled_usd, 0), 0, 0
    FROM public.run_charges c JOIN public.work_order_runs r ON r.id = c.run_id
    UNION ALL
    SELECT d.at, tollgate.spend_facts(d), 1, 0, 0, d.cost_usd, 0, d.cost_usd, 0, d.tokens
    FROM public.direct_spend d;

-- Whether a limit covers that subject, so that its counters are kept. A row for one name covers nobody else.
CREATE OR REPLACE FUNCTION tollgate.is_limited(p_scope text, p_subject text, p_window text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT (p_scope IN ('work_order', 'global') AND p_window IN ('open', 'day'))
        OR EXISTS (SELECT FROM public.budgets b WHERE b.scope = p_scope AND b."window" = p_window
            AND b.subject IN ('*', CASE p_scope WHEN 'model_tier' THEN split_part(p_subject, chr(31), 2)
                ELSE p_subject END))
        OR (p_scope = 'feature' AND p_window = 'rolling_hour' AND EXISTS (
            SELECT FROM public.feature_flags f WHERE f.feature = p_subject AND f.cost_cap_usd IS NOT NULL))
        OR (p_scope = 'feature_user' AND EXISTS (
            SELECT FROM public.feature_flags f WHERE f.feature = split_part(p_subject, chr(31), 1)
                AND f.period = p_window AND f.requests_per_period IS NOT NULL))
$$;

-- Counters of a limit that was just made: what its window holds already. Runs that may still be
-- settled learn of them, with the owner's rights: the application's role cannot change a run. The
-- caller has the lock of all; a month is read once, and starts wait.
CREATE OR REPLACE FUNCTION tollgate.fill(p_scope text, p_window text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
DECLARE
    at timestamptz := tollgate.now();
    since timestamptz := CASE p_window WHEN 'open' THEN 'epoch'::timestamptz
        WHEN 'rolling_minute' THEN tollgate.begins(p_window, at - interval '1 minute')
        WHEN 'rolling_hour' THEN tollgate.begins(p_window, at - interval '1 hour')
        ELSE tollgate.begins(p_window, at) END;
    short boolean := tollgate.is_short(p_window);
BEGIN
    -- Of what runs at one time only what runs matters; the work order's and the global rows of
    -- `open` and `day` are there always.
    IF p_scope IN ('work_order', 'global') AND p_window IN ('open', 'day') THEN
        RETURN;
    END IF;
    INSERT INTO public.counters (key, scope, subject, "window", starts_at, runs, open_runs, reserved_usd,
        settled_usd, reserved_tokens, settled_tokens)
    SELECT tollgate.counter_key(p_scope, s.subject, p_window, s.slot), p_scope, s.subject, p_window,
        s.slot, sum(s.runs), sum(s.open_runs),
        sum(CASE WHEN short THEN s.reserved_short ELSE s.reserved_long END),
        sum(CASE WHEN short THEN s.settled_short ELSE s.settled_long END),
        sum(s.reserved_tokens), sum(s.settled_tokens)
    FROM (SELECT e.*, tollgate.subject(p_scope, e.facts) AS subject,
              tollgate.begins(p_window, e.at) AS slot
          FROM tollgate.entries e WHERE e.at >= since) s
    WHERE s.subject IS NOT NULL AND tollgate.is_limited(p_scope, s.subject, p_window)
    GROUP BY s.subject, s.slot
    ON CONFLICT (key) DO UPDATE SET runs = excluded.runs, open_runs = excluded.open_runs,
        reserved_usd = excluded.reserved_usd, settled_usd = excluded.settled_usd,
        reserved_tokens = excluded.reserved_tokens, settled_tokens = excluded.settled_tokens;
    UPDATE public.work_order_runs r SET charged_to = r.charged_to || k.id FROM public.counters k
    WHERE r.status IN ('running', 'expired') AND r.started_at >= since
        AND k.key = tollgate.counter_key(p_scope, tollgate.subject(p_scope, tollgate.run_facts(r)),
            p_window, tollgate.begins(p_window, r.started_at))
        AND NOT k.id = ANY (r.charged_to);
    UPDATE public.run_charges c SET charged_to = c.charged_to || k.id FROM public.counters k, public.work_order_runs r
    WHERE short AND r.id = c.run_id AND r.status IN ('running', 'expired') AND c.at >= since
        AND k.key = tollgate.counter_key(p_scope, tollgate.subject(p_scope, tollgate.run_facts(r)),
            p_window, tollgate.begins(p_window, c.at))
        AND NOT k.id = ANY (c.charged_to);
END $$;

CREATE OR REPLACE FUNCTION tollgate.fill_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.fill(NEW.scope, NEW."window");
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER fill AFTER INSERT OR UPDATE OF scope, subject, "window" ON public.budgets
    FOR EACH ROW EXECUTE FUNCTION tollgate.fill_budget();

CREATE OR REPLACE FUNCTION tollgate.fill_feature() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.requests_per_period IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.requests_per_period IS NULL
        OR OLD.period <> NEW.period OR OLD.feature <> NEW.feature) THEN
        PERFORM tollgate.fill('feature_user', NEW.period);
    END IF;
    IF NEW.cost_cap_usd IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.cost_cap_usd IS NULL
        OR OLD.feature <> NEW.feature) THEN
        PERFORM tollgate.fill('feature', 'rolling_hour');
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER fill AFTER INSERT OR UPDATE ON public.feature_flags
    FOR EACH ROW EXECUTE FUNCTION tollgate.fill_feature();

-- A write of anything that admission reads waits for the admissions that are under way, and those
-- that come after it see it. With the argument `limits`, a new limit waits for transactions that change a run, too.
CREATE OR REPLACE FUNCTION tollgate.order_limits_with_admission() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_NARGS > 0 THEN
        PERFORM tollgate.hold_limits();
    ELSE
        PERFORM tollgate.hold_counters();
    END IF;
    RETURN NULL;
END $$;
-- (The triggers of a statement run in the order of their names.)
CREATE OR REPLACE TRIGGER order_first_with_runs BEFORE INSERT OR UPDATE OF scope, subject, "window" ON public.budgets
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.order_limits_with_admission('limits');
CREATE OR REPLACE TRIGGER order_first_with_runs BEFORE INSERT ON public.feature_flags
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.order_limits_with_admission('limits');
CREATE OR REPLACE TRIGGER order_with_admission BEFORE INSERT OR UPDATE OR DELETE ON public.budgets
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.order_limits_with_admission();
CREATE OR REPLACE TRIGGER order_with_admission BEFORE INSERT OR UPDATE OR DELETE ON public.kill_switches
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.order_limits_with_admission();
CREATE OR REPLACE TRIGGER order_with_admission BEFORE INSERT OR UPDATE OR DELETE ON public.circuit_breakers
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.order_limits_with_admission();
CREATE OR REPLACE TRIGGER order_with_admission BEFORE INSERT OR UPDATE OR DELETE ON public.feature_flags
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.order_limits_with_admission();
