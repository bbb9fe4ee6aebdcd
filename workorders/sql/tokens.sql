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
    lineage bigint,    -- runs, keys and stops belong to the line, see ServiceToken
    use_due boolean,   -- its last use was noted over a minute ago: tollgate.note_token_use_v1
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
        t.work_orders::text[], t.surface::text, t.feature::text,
        t.lineage, coalesce(n.last_used_at < clock_timestamp() - interval '1 minute', true),
        t.max_run_usd::numeric,
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
    FROM (VALUES (p_digest)) AS presented (digest) LEFT JOIN public.service_tokens t ON t.digest = presented.digest
    LEFT JOIN public.auth_user u ON u.id = t.owner_id
    LEFT JOIN public.token_uses n ON n.token_id = t.id
$$;

-- When and from where a token was used, at most once a minute. Nobody waits here: if another request
-- holds the row, it notes the same.
CREATE OR REPLACE FUNCTION tollgate.note_token_use_v1(p_token bigint, p_address inet) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE public.token_uses SET last_used_at = clock_timestamp(), last_address = p_address
    WHERE token_id = (SELECT u.token_id FROM public.token_uses u WHERE u.token_id = p_token
        AND coalesce(u.last_used_at < clock_timestamp() - interval '1 minute', true)
        FOR UPDATE SKIP LOCKED);
END $$;

-- A token is in the line of the one that it was rotated from, with the same owner; else it begins
-- its own. What an INSERT says of the line is not believed, and it never changes.
CREATE OR REPLACE FUNCTION tollgate.stamp_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(TG_OP = 'UPDATE', 'the line of a token never changes');
    NEW.lineage := NEW.id;
    IF NEW.predecessor_id IS NOT NULL THEN
        SELECT t.lineage INTO NEW.lineage FROM public.service_tokens t
        WHERE t.id = NEW.predecessor_id AND t.owner_id = NEW.owner_id;
        PERFORM tollgate.forbid(NOT FOUND, 'a token and its successor have one owner');
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER stamp_token BEFORE INSERT ON public.service_tokens
    FOR EACH ROW EXECUTE FUNCTION tollgate.stamp_token();
CREATE OR REPLACE TRIGGER keep_line BEFORE UPDATE ON public.service_tokens
    FOR EACH ROW WHEN ((OLD.lineage, OLD.predecessor_id)
        IS DISTINCT FROM (NEW.lineage, NEW.predecessor_id))
    EXECUTE FUNCTION tollgate.stamp_token();

-- The row that its uses are noted in: made here, so that no two first uses wait for each other.
CREATE OR REPLACE FUNCTION tollgate.make_token_use() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.token_uses (token_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER make_token_use AFTER INSERT ON public.service_tokens
    FOR EACH ROW EXECUTE FUNCTION tollgate.make_token_use();

-- Whether runs, keys and extensions of `p_token` are in reach of this bearer: they are of one line.
CREATE OR REPLACE FUNCTION tollgate.is_of_line(p_token bigint, b tollgate.bearer) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN p_token = b.token_id
        OR (SELECT t.lineage = b.lineage FROM public.service_tokens t WHERE t.id = p_token);
END $$;

-- How a refusal is answered: an unknown, revoked or expired token is not authenticated (401).
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

-- Whose a token is, and who has seen its text, stays: both are parties to what it asks for, and a new
-- name on it would be a way around that. Another owner is another token.
CREATE OR REPLACE FUNCTION tollgate.guard_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tollgate.forbid(true, 'the owner and the maker of a token never change: make another token');
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER guard_token BEFORE UPDATE ON public.service_tokens
    FOR EACH ROW WHEN ((OLD.owner_id, OLD.created_by_id, OLD.digest)
        IS DISTINCT FROM (NEW.owner_id, NEW.created_by_id, NEW.digest))
    EXECUTE FUNCTION tollgate.guard_token();
-- What a run may cost by a token's word rises only by an approved request, which records its event first.
CREATE OR REPLACE FUNCTION tollgate.guard_ceiling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- (A successor keeps what its predecessor was raised to.)
        PERFORM tollgate.forbid(NEW.max_run_usd > greatest(100, coalesce((SELECT t.max_run_usd FROM public.service_tokens AS t
            WHERE t.id = NEW.predecessor_id AND t.owner_id = NEW.owner_id), 0)),
            'a token begins with a ceiling of $100 a run; more is asked for');
        RETURN NEW;
    END IF;
    PERFORM tollgate.forbid(NOT EXISTS (
        SELECT FROM public.operations_events e
        WHERE e.kind = 'LIMIT_RAISED' AND e.owner_type = 'service_token' AND e.owner_id = NEW.id::text
            AND e.xact = pg_current_xact_id()::text::bigint AND e.created_at > now() - interval '1 day'
            AND (e.meta->'changes'->'maxRunUsd'->>'new')::numeric = NEW.max_run_usd),
        format('the ceiling of token %s rises only by an approved request', OLD.name), 'Ask for it on the page of the token.');
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard_ceiling_insert BEFORE INSERT ON public.service_tokens
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_ceiling();
CREATE OR REPLACE TRIGGER guard_ceiling BEFORE UPDATE OF max_run_usd ON public.service_tokens
    FOR EACH ROW WHEN (NEW.max_run_usd > OLD.max_run_usd) EXECUTE FUNCTION tollgate.guard_ceiling();
