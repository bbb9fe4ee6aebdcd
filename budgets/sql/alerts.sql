-- Alerts of limits: which threshold is reached, and the sentence that people read.

-- What a limit is held over, as people call it: by the title where it is a work order.
CREATE OR REPLACE FUNCTION tollgate.named(scope text, subject text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE scope WHEN 'global' THEN 'everything together'
        WHEN 'work_order' THEN 'work order '
            || coalesce((SELECT nullif(w.title, '') FROM public.work_orders w WHERE w.id = subject), subject)
        ELSE replace(scope, '_', ' ') || ' ' || replace(subject, chr(31), '/') END
$$;

CREATE OR REPLACE FUNCTION tollgate.span(win text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE win WHEN 'open' THEN 'at the same time' WHEN 'rolling_minute' THEN 'in any 60 seconds'
        WHEN 'rolling_hour' THEN 'in any 60 minutes' WHEN 'hour' THEN 'an hour' ELSE 'a ' || win END
$$;

-- A number in the unit of its limit. The requests of a work order are its runs.
CREATE OR REPLACE FUNCTION tollgate.told(c tollgate.charge, amount numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE amount WHEN 1 THEN rtrim(words, 's') ELSE words END
    FROM tollgate.amount(CASE WHEN c.scope = 'work_order' AND c.measure = 'requests' THEN 'runs'
        ELSE c.measure END, amount) AS words
$$;

-- "Warning: …" below the amount; at it, "Blocked: …", with when it ends.
CREATE OR REPLACE FUNCTION tollgate.alert_sentence(
    c tollgate.charge, p_at timestamptz, threshold numeric, full_up boolean
)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN full_up THEN format('Blocked: %s is at its %s of %s %s (%s used): starts are refused until %s',
            tollgate.named(c.scope, c.subject),
            CASE c.scope WHEN 'work_order' THEN 'cap' ELSE 'limit' END,
            tollgate.told(c, c.amount), tollgate.span(c.win), tollgate.told(c, c.used),
            CASE WHEN c.win = 'open' THEN 'a run ends'
                ELSE to_char(tollgate.cured_at(c, p_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
                    || CASE WHEN c.win LIKE 'rolling%' THEN ' at the earliest' ELSE '' END END)
        WHEN c.amount IS NULL THEN format('Warning: %s used %s %s (alert threshold: %s)',
            tollgate.named(c.scope, c.subject), tollgate.told(c, c.used), tollgate.span(c.win),
            tollgate.told(c, threshold))
        ELSE format('Warning: %s used %s %% of its %s %s (%s of %s)',
            tollgate.named(c.scope, c.subject), trunc(c.used * 100 / c.amount),
            CASE WHEN c.measure = 'usd' THEN 'dollars'
                WHEN c.scope = 'work_order' AND c.measure = 'requests' THEN 'runs' ELSE c.measure END,
            tollgate.span(c.win), tollgate.told(c, c.used), tollgate.told(c, c.amount)) END
$$;

-- Alerts for every threshold of this limit that its use has reached; returns how many were new. What makes
-- an alert the same is limit, subject, amount, threshold and window. Only use counts: an ask that was
-- refused used nothing, and is reported with the other refusals (budgets/alerts/refusals.py).
CREATE OR REPLACE FUNCTION tollgate.alert_limit(c tollgate.charge, p_at timestamptz)
RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    -- A rolling window, and what runs at one time, have no beginning: they are reported once an hour.
    win_start timestamptz := CASE WHEN c.win IN ('open', 'rolling_minute', 'rolling_hour')
        THEN tollgate.begins('hour', p_at) ELSE tollgate.begins(c.win, p_at) END;
    new_alerts integer := 0;
    t record;
BEGIN
    FOR t IN
        SELECT 'warning' AS name, c.warning_amount AS threshold, false AS full_up
        WHERE c.used >= c.warning_amount
        UNION ALL
        SELECT p || '%', c.amount * p / 100, p >= 100 FROM unnest(c.alert_percents) p
        WHERE c.used * 100 >= c.amount * p
    LOOP
        new_alerts := new_alerts + tollgate.alert('budget_threshold',
            format('budget:%s:%s:%s:%s:%s:%s', c.budget_id, c.subject, trim_scale(c.amount),
                extract(epoch FROM win_start)::bigint, t.name, trim_scale(t.threshold)),
            tollgate.alert_sentence(c, p_at, t.threshold, t.full_up),
            CASE WHEN c.scope = 'work_order' THEN 'work_order' ELSE 'budget' END,
            CASE WHEN c.scope = 'work_order' THEN c.subject ELSE c.budget_id::text END,
            jsonb_build_object('budgetId', c.budget_id, 'scope', c.scope, 'subject', c.subject,
                'window', c.win, 'measure', c.measure, 'used', c.used::text, 'amount', c.amount::text,
                'threshold', t.threshold::text, 'thresholdName', t.name,
                'severity', CASE WHEN t.full_up THEN 'blocked' ELSE 'warning' END,
                'windowStart', tollgate.rfc3339(win_start)), p_at)::integer;
    END LOOP;
    RETURN new_alerts;
END $$;

-- After something was charged: alerts for what it reached. Returns whether any is new.
CREATE OR REPLACE FUNCTION tollgate.alert_charges(f tollgate.facts, p_at timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(tollgate.alert_limit(c, p_at)), 0) > 0
    FROM (SELECT DISTINCT ON (c.budget_id) c.* FROM tollgate.charges(f, p_at, false) c
          WHERE c.budget_id IS NOT NULL AND (c.warning_amount IS NOT NULL OR c.alert_percents <> '{}')
         ) c
$$;

-- What is used of a limit now, for each of its subjects; null: of all limits.
CREATE OR REPLACE FUNCTION tollgate.use_of(p_budget bigint, p_at timestamptz) RETURNS SETOF tollgate.charge
LANGUAGE sql STABLE AS $$
    SELECT 'none'::tollgate.start_check, b.id, b.scope, k.subject, b."window", b.measure,
        tollgate.amount_in_force(b.scope, b.measure, b.amount, e.runs_per_day, e.usd_per_day),
        b.warning_amount, b.alert_percents, p_at, NULL::bigint, k.used
    FROM public.budgets b
    CROSS JOIN LATERAL (
        SELECT s.subject, sum(tollgate.used(b.measure, s.reserved_usd + s.settled_usd,
            s.reserved_tokens + s.settled_tokens, s.open_runs, s.runs)) AS used
        FROM public.counters s
        WHERE s.scope = b.scope AND s."window" = b."window"
            AND s.starts_at BETWEEN tollgate.counts_from(b."window", p_at) AND p_at
            AND (b.subject IN ('', s.subject) OR (b.scope = 'model_tier'
                    AND b.subject = split_part(s.subject, chr(31), 2))
                OR (b.subject = '*' AND NOT EXISTS (
                    SELECT FROM public.budgets own WHERE own.scope = b.scope AND own."window" = b."window"
                        AND own.measure = b.measure AND own.subject = s.subject)))
        GROUP BY s.subject
    ) k
    LEFT JOIN LATERAL tollgate.effective_caps(k.subject, p_at) e ON b.scope = 'work_order'
    WHERE p_budget IS NULL OR b.id = p_budget
$$;

-- The sweep of a job: thresholds that a settlement, or a change of the limit, has passed silently.
CREATE OR REPLACE FUNCTION tollgate.alert_sweep_v1() RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    at timestamptz := tollgate.now();
BEGIN
    RETURN (SELECT coalesce(sum(tollgate.alert_limit(c, at)), 0) FROM tollgate.use_of(NULL, at) c
        WHERE c.warning_amount IS NOT NULL OR c.alert_percents <> '{}');
END $$;
