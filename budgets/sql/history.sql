-- Governed spend by the hour: what runs that started in an hour cost, or have reserved, and direct
-- spend. An hour that is over for good is kept as sums, so that a month is read without its runs.

-- What governed spend is grouped by. Tokens by their line, so that a rotation makes no new one.
CREATE OR REPLACE FUNCTION tollgate.governed_names(
    wo_id text, model text, agent text, lineage bigint, user_id text, feature text
) RETURNS TABLE (kind text, name text) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM (VALUES ('all', ''), ('work_order', wo_id), ('model', model), ('agent', agent),
        ('token', coalesce(lineage::text, '')), ('user', user_id), ('feature', feature)) v (kind, name)
$$;

CREATE OR REPLACE FUNCTION tollgate.governed_kinds() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(n.kind) FROM tollgate.governed_names('', '', '', NULL, '', '') n
$$;

-- From the rows: of one kind (null: of all), between two moments, by a step that divides the day.
CREATE OR REPLACE FUNCTION tollgate.governed_rows(
    p_kind text, p_from timestamptz, p_to timestamptz, p_step interval
) RETURNS TABLE (at timestamptz, kind text, name text, usd numeric, runs bigint) LANGUAGE sql STABLE AS $$
    SELECT date_bin(p_step, v.at, 'epoch'), n.kind, n.name, sum(v.usd), sum(v.runs)
    FROM (
        SELECT r.started_at AS at, r.wo_id, r.model, r.agent_name, t.lineage, r.user_id, r.feature,
            coalesce(r.cost, r.reserved_usd) AS usd, 1 AS runs
        FROM public.work_order_runs r LEFT JOIN public.service_tokens t ON t.id = r.token_id
        WHERE r.started_at >= p_from AND r.started_at < p_to
        UNION ALL
        SELECT d.at, '', d.model, d.agent_name, t.lineage, d.user_id, d.feature, d.cost_usd, 0
        FROM public.direct_spend d LEFT JOIN public.service_tokens t ON t.id = d.token_id
        WHERE d.at >= p_from AND d.at < p_to
    ) v CROSS JOIN LATERAL tollgate.governed_names(v.wo_id, v.model, v.agent_name, v.lineage, v.user_id, v.feature) n
    WHERE p_kind IS NULL OR n.kind = p_kind
    GROUP BY 1, 2, 3
$$;

-- Whole hours of one kind: the kept sums, and the rows of every hour that is not kept. Both are the same
-- figures; of an hour with more than `keep_hours_v1` keeps, the smallest names are one, `others`.
CREATE OR REPLACE FUNCTION tollgate.governed_hours(p_kind text, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (hour timestamptz, name text, usd numeric, runs bigint) LANGUAGE sql STABLE AS $$
    SELECT k.hour, k.name, k.usd, k.runs FROM public.governed_hours k
    WHERE k.kind = p_kind AND k.hour >= p_from AND k.hour < p_to
    UNION ALL
    SELECT l.at, l.name, l.usd, l.runs
    FROM generate_series(date_trunc('hour', p_from, 'UTC'), p_to - interval '1 microsecond', interval '1 hour') h (hour)
    CROSS JOIN LATERAL tollgate.governed_rows(p_kind, greatest(h.hour, p_from),
        least(h.hour + interval '1 hour', p_to), interval '1 hour') l
    WHERE NOT EXISTS (SELECT FROM public.governed_hours k WHERE k.hour = h.hour AND k.kind = 'all')
$$;

-- Keeps the newest hour that nothing changes by itself any more: a day old, and without a run that is
-- under way. False: there is none. Whoever changes it all the same waits for this, which is for one hour's
-- rows, and drops it (below).
CREATE OR REPLACE FUNCTION tollgate.keep_hour_v1(p_names integer) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    this constant timestamptz := date_trunc('hour', tollgate.now(), 'UTC');
    one timestamptz;
BEGIN
    DELETE FROM public.governed_hours k
    WHERE k.kind = ANY (tollgate.governed_kinds()) AND k.hour < this - interval '32 days';
    PERFORM pg_advisory_xact_lock(7410, 0);
    SELECT h INTO one FROM generate_series(this - interval '25 hours', greatest(this - interval '31 days',
        date_trunc('hour', least((SELECT min(r.started_at) FROM public.work_order_runs r),
            (SELECT min(d.at) FROM public.direct_spend d)), 'UTC')), interval '-1 hour') h
    WHERE NOT EXISTS (SELECT FROM public.governed_hours k WHERE k.hour = h AND k.kind = 'all')
        AND NOT EXISTS (SELECT FROM public.work_order_runs r WHERE r.status = 'running'
            AND r.started_at >= h AND r.started_at < h + interval '1 hour')
    ORDER BY h DESC LIMIT 1;
    IF one IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO public.governed_hours (hour, kind, name, usd, runs)
    SELECT one, s.kind, s.name, sum(s.usd), sum(s.runs) FROM (
        SELECT r.kind, r.usd, r.runs, CASE WHEN row_number() OVER (PARTITION BY r.kind ORDER BY r.usd DESC, r.name)
            <= p_names THEN r.name ELSE 'others' END AS name
        FROM tollgate.governed_rows(NULL, one, one + interval '1 hour', interval '1 hour') r
        UNION ALL SELECT 'all', 0, 0, '') s
    GROUP BY s.kind, s.name;
    RETURN true;
END $$;

-- A late report or a correction of a cost drops the sums of its hour; they are made anew.
CREATE OR REPLACE FUNCTION tollgate.forget_hour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7410, 0);
    DELETE FROM public.governed_hours k WHERE k.kind = ANY (tollgate.governed_kinds()) AND k.hour = date_trunc('hour',
        coalesce(to_jsonb(OLD)->>'started_at', to_jsonb(OLD)->>'at')::timestamptz, 'UTC');
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER forget_hour AFTER UPDATE OF cost ON public.work_order_runs
    FOR EACH ROW WHEN (OLD.status <> 'running' AND OLD.cost IS DISTINCT FROM NEW.cost)
    EXECUTE FUNCTION tollgate.forget_hour();
CREATE OR REPLACE TRIGGER forget_hour AFTER UPDATE OF cost_usd ON public.direct_spend
    FOR EACH ROW WHEN (OLD.cost_usd IS DISTINCT FROM NEW.cost_usd)
    EXECUTE FUNCTION tollgate.forget_hour();
