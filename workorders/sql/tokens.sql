-- The one place where a service token is judged. Admission calls it inside its own round trip, the
-- REST authentication calls it for every other endpoint.

CREATE TYPE tollgate.bearer AS (
    token_id bigint,
    owner_id bigint,
    actor text,
    token_name text,
    prefix text,
    scopes text[],
    work_orders text[],
    surface text,
    feature text,
    max_run_usd numeric,   -- what a run may cost by its word, unless its scope is admin
    refusal text   -- empty: the token is good for this
);

-- `p_scopes`: any one of them suffices; empty: a live token is enough.
-- `p_work_order`: empty where the request is about none; `*` where it is about what all share, which
-- a token that is limited to some work orders neither sees nor touches.
-- (One row, always. Returns a set, so that PostgreSQL puts it into the query that asks.)
CREATE OR REPLACE FUNCTION tollgate.bearer_v1(
    p_digest bytea, p_address inet, p_scopes text[], p_work_order text
) RETURNS SETOF tollgate.bearer LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT t.id, t.owner_id, u.username::text, t.name::text, t.prefix::text, t.scopes::text[],
        t.work_orders::text[], t.surface::text, t.feature::text, t.max_run_usd::numeric,
        CASE
            WHEN t.id IS NULL THEN 'unknown'
            WHEN t.revoked_at IS NOT NULL THEN 'revoked'
            WHEN t.expires_at IS NOT NULL AND t.expires_at <= clock_timestamp() THEN 'expired'
            WHEN NOT u.is_active THEN 'owner_inactive'
            WHEN cardinality(t.networks) > 0
                AND NOT coalesce(p_address <<= ANY (t.networks::inet[]), false) THEN 'network'
            WHEN cardinality(p_scopes) > 0 AND NOT t.scopes && p_scopes THEN 'scope'
            WHEN p_work_order <> '' AND cardinality(t.work_orders) > 0
                AND NOT p_work_order = ANY (t.work_orders)
                THEN CASE p_work_order WHEN '*' THEN 'shared' ELSE 'work_order' END
            ELSE ''
        END
    FROM (VALUES (p_digest)) AS told (digest) LEFT JOIN public.service_tokens t ON t.digest = told.digest
    LEFT JOIN public.auth_user u ON u.id = t.owner_id
$$;

-- How a refusal is told: an unknown, revoked or expired token is not authenticated (401).
CREATE OR REPLACE FUNCTION tollgate.token_answer_v1(
    refusal text, OUT status integer, OUT denial text, OUT error text
) LANGUAGE sql IMMUTABLE AS $$
    SELECT v.status, v.denial, v.error FROM (VALUES
        ('network', 403, 'token', 'this token may not be used from this address'),
        ('scope', 403, 'scope', 'this token lacks the scope for this'),
        ('work_order', 403, 'scope', 'this token may not be used for this work order'),
        ('shared', 403, 'scope', 'this token is for some work orders, and this concerns all'),
        ('', 401, 'token', 'the token is missing, unknown, expired or revoked')
    ) AS v (refusal, status, denial, error)
    WHERE v.refusal IN (token_answer_v1.refusal, '')
    ORDER BY v.refusal DESC LIMIT 1
$$;

-- What a run may cost by a token's word rises only by an approved request, which records its event first.
CREATE OR REPLACE FUNCTION tollgate.guard_ceiling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.max_run_usd > 100 THEN
            RAISE EXCEPTION 'a token begins with a ceiling of $100 a run; more is asked for'
                USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF NOT EXISTS (
        SELECT FROM public.operations_events e
        WHERE e.kind = 'LIMIT_RAISED' AND e.owner_type = 'service_token' AND e.owner_id = NEW.id::text
            AND e.xact = pg_current_xact_id()::text::bigint AND e.created_at > now() - interval '1 day'
            AND (e.meta->'changes'->'maxRunUsd'->>'new')::numeric = NEW.max_run_usd) THEN
        RAISE EXCEPTION 'the ceiling of token % rises only by an approved request', OLD.name
            USING ERRCODE = 'restrict_violation', HINT = 'Ask for it on the page of the token.';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_ceiling_insert BEFORE INSERT ON public.service_tokens
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_ceiling();
CREATE OR REPLACE TRIGGER guard_ceiling BEFORE UPDATE OF max_run_usd ON public.service_tokens
    FOR EACH ROW WHEN (NEW.max_run_usd > OLD.max_run_usd) EXECUTE FUNCTION tollgate.guard_ceiling();
