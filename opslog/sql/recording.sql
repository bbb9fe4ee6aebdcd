-- Whoever changes a governed row, by whatever way, leaves an event with what was and what is. The
-- application says who acts and why for the length of its transaction (budgets/audit.py); that is
-- information, no proof: the database user is stamped on the event in any case.

-- What changed of a row: {column: {old, new}}; null where nothing did. A secret is named, not shown; of
-- the digest of a token the beginning of a digest, so that two changes can be distinguished.
CREATE OR REPLACE FUNCTION tollgate.changes(was jsonb, is_now jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_object_agg(k, CASE k
        WHEN 'password' THEN '{"old": "hidden", "new": "hidden"}'::jsonb
        WHEN 'digest' THEN jsonb_build_object(
            'old', left(encode(sha256(convert_to(was->>k, 'UTF8')), 'hex'), 12),
            'new', left(encode(sha256(convert_to(is_now->>k, 'UTF8')), 'hex'), 12))
        ELSE jsonb_build_object('old', was->k, 'new', is_now->k) END)
    FROM jsonb_object_keys(coalesce(is_now, was)) AS k
    WHERE coalesce(was->k, 'null') <> coalesce(is_now->k, 'null')
        -- (Whose number is exchanged for another's takes their rights and signatures.)
        AND (k <> 'id' OR (was IS NOT NULL AND is_now IS NOT NULL))
        AND k NOT IN ('changed_at', 'changed_by', 'reason', 'created_at', 'date_joined', 'set_by_person_id')
        AND k NOT LIKE 'last\_%'
$$;

CREATE OR REPLACE FUNCTION tollgate.write_change(
    p_kind text, p_type text, p_id text, p_label text, p_changes jsonb, p_op text
) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT tollgate.record(row(p_kind,
        format('%s %s: %s', initcap(replace(p_type, '_', ' ')), p_label, coalesce((
            SELECT string_agg(format('%s %s → %s', k, coalesce(nullif(c->>'old', ''), 'none'),
                coalesce(nullif(c->>'new', ''), 'none')), ', ' ORDER BY k)
            FROM jsonb_each(p_changes) AS each (k, c)), lower(p_op))),
        p_type, p_id, p_label,
        coalesce(nullif(current_setting('tollgate.actor', true), ''), session_user),
        jsonb_build_object('changes', p_changes, 'by', p_op,
            'reason', nullif(current_setting('tollgate.reason', true), '')),
        coalesce(current_setting('tollgate.request_id', true), ''))::tollgate.event)
$$;

-- What the label of a row is made of: the columns named in `args` from the second on, joined by the first.
CREATE OR REPLACE FUNCTION tollgate.row_label(one jsonb, args text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(nullif(one->>k, ''), args[1] ORDER BY n), '')
    FROM unnest(args[2:]) WITH ORDINALITY AS c (k, n)
$$;

-- The one recorder of a table: each change is an event at once. Arguments: what the row is, the kind of
-- the event, and how it is labelled.
CREATE OR REPLACE FUNCTION tollgate.record_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    one jsonb := coalesce(is_now, was);
    changed jsonb := tollgate.changes(was, is_now);
BEGIN
    IF changed IS NOT NULL THEN
        PERFORM tollgate.write_change(TG_ARGV[1], TG_ARGV[0], one->>'id',
            tollgate.row_label(one, TG_ARGV[2:]), changed, TG_OP);
    END IF;
    RETURN NULL;
END $$;

-- Where the application writes an event of its own, with more to say than a row has, the trigger looks
-- at the end of the transaction whether an event of it tells exactly what changed, and writes one if
-- none does. It can be silenced by nothing but the truth. (What a trigger wrote has `by` in its meta: it
-- tells of one change, and does not stand for a second of the same transaction.)
CREATE OR REPLACE FUNCTION tollgate.events_about(p_type text, p_id text)
RETURNS TABLE (kind text, meta jsonb) LANGUAGE sql STABLE AS $$
    SELECT e.kind, e.meta FROM public.operations_events AS e
    WHERE e.owner_type = p_type AND e.owner_id = p_id
        AND e.xact = pg_current_xact_id()::text::bigint
        -- For the index: a time may be supplied that is a little older than the transaction.
        AND e.created_at > now() - interval '10 seconds'
$$;

CREATE OR REPLACE FUNCTION tollgate.is_told(p_type text, p_id text, p_changes jsonb) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT (p_changes - 'password' = '{}' OR EXISTS (
            SELECT FROM tollgate.events_about(p_type, p_id) AS e
            WHERE e.meta->'changes' @> p_changes - 'password'))
        AND (NOT p_changes ? 'password' OR EXISTS (
            SELECT FROM tollgate.events_about(p_type, p_id) AS e
            WHERE e.kind LIKE '%PASSWORD%' OR e.meta->'changes' ? 'password'))
$$;

-- Of changed rows. Arguments as above.
CREATE OR REPLACE FUNCTION tollgate.record_untold_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_now jsonb := to_jsonb(NEW);
    changed jsonb := tollgate.changes(to_jsonb(OLD), is_now);
    subject text := coalesce(is_now->>'id', is_now->>'name');
BEGIN
    IF changed IS NOT NULL AND NOT tollgate.is_told(TG_ARGV[0], subject, changed) THEN
        PERFORM tollgate.write_change(TG_ARGV[1], TG_ARGV[0], subject,
            tollgate.row_label(is_now, TG_ARGV[2:]), changed, TG_OP);
    END IF;
    RETURN NULL;
END $$;

-- People and what they may do. A log-in (`last_login`) is no change of an account.
CREATE OR REPLACE FUNCTION tollgate.record_account() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    one jsonb := coalesce(is_now, was);
    what text := CASE WHEN TG_TABLE_NAME IN ('auth_group', 'auth_group_permissions') THEN 'group' ELSE 'user' END;
    subject text := coalesce(one->>(what || '_id'), one->>'id');
    label text;
    part text;      -- of the subject, where the row is no subject itself
    member text;    -- what it gains or loses
    changed jsonb;
    has_event boolean;
BEGIN
    CASE TG_TABLE_NAME
        WHEN 'auth_user_groups' THEN
            part := 'groups';
            SELECT g.name INTO member FROM public.auth_group AS g WHERE g.id = (one->>'group_id')::bigint;
        WHEN 'auth_user_user_permissions', 'auth_group_permissions' THEN
            part := 'permissions';
            SELECT p.codename INTO member FROM public.auth_permission AS p
            WHERE p.id = (one->>'permission_id')::bigint;
        ELSE
            NULL;
    END CASE;
    SELECT CASE what WHEN 'user' THEN (SELECT u.username FROM public.auth_user AS u WHERE u.id = subject::bigint)
        ELSE (SELECT g.name FROM public.auth_group AS g WHERE g.id = subject::bigint) END INTO label;
    label := coalesce(label, one->>'username', one->>'name', subject);
    IF part IS NULL THEN
        changed := CASE TG_OP WHEN 'UPDATE' THEN tollgate.changes(was, is_now)
            WHEN 'INSERT' THEN jsonb_build_object('is_superuser',
                jsonb_build_object('old', NULL, 'new', coalesce(is_now->'is_superuser', 'false')))
            ELSE '{}' END;
        has_event := changed IS NULL OR CASE TG_OP
            WHEN 'UPDATE' THEN tollgate.is_told(what, subject, changed)
            -- A new superuser has to be called one.
            WHEN 'INSERT' THEN EXISTS (SELECT FROM tollgate.events_about(what, subject) AS e
                WHERE e.kind = upper(what) || '_CREATED' AND (is_now->>'is_superuser' IS DISTINCT FROM 'true'
                    OR e.meta->'changes'->'is_superuser'->'new' = 'true'))
            ELSE false END;
        IF has_event THEN
            RETURN NULL;
        END IF;
        PERFORM tollgate.write_change(
            upper(what) || CASE TG_OP WHEN 'INSERT' THEN '_CREATED' WHEN 'UPDATE' THEN '_CHANGED' ELSE '_DELETED' END,
            what, subject, label, changed, TG_OP);
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        changed := tollgate.changes(was, is_now);
        IF changed IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        changed := jsonb_build_object(part, CASE TG_OP
            WHEN 'INSERT' THEN jsonb_build_object('old', '[]'::jsonb, 'new', jsonb_build_array(member))
            ELSE jsonb_build_object('old', jsonb_build_array(member), 'new', '[]'::jsonb) END);
        IF EXISTS (SELECT FROM tollgate.events_about(what, subject) AS e
            WHERE (e.meta->'changes'->part->'new' ? member) = (TG_OP = 'INSERT')
                AND (e.meta->'changes'->part->'old' ? member) = (TG_OP = 'DELETE')) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM tollgate.write_change(upper(what) || '_CHANGED', what, subject, label, changed, TG_OP);
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER record_account
    AFTER INSERT OR DELETE OR UPDATE OF id, username, password, email, first_name, last_name, is_active, is_staff,
        is_superuser ON public.auth_user
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_account();
CREATE CONSTRAINT TRIGGER record_account AFTER INSERT OR UPDATE OR DELETE ON public.auth_user_groups
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_account();
CREATE CONSTRAINT TRIGGER record_account AFTER INSERT OR UPDATE OR DELETE ON public.auth_user_user_permissions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_account();
CREATE CONSTRAINT TRIGGER record_account AFTER INSERT OR UPDATE OR DELETE ON public.auth_group
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_account();
CREATE CONSTRAINT TRIGGER record_account AFTER INSERT OR UPDATE OR DELETE ON public.auth_group_permissions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_account();

-- Prices decide what a run costs. One of them is recorded by its own event, an import by one for all.
CREATE OR REPLACE FUNCTION tollgate.record_price() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    one jsonb := coalesce(to_jsonb(NEW), to_jsonb(OLD));
    changed jsonb := tollgate.changes(to_jsonb(OLD), to_jsonb(NEW));
BEGIN
    IF changed IS NOT NULL AND NOT EXISTS (
        SELECT FROM (VALUES ('price_book', ''), ('model_price', one->>'id')) AS s (type, id)
        CROSS JOIN LATERAL tollgate.events_about(s.type, s.id) AS e
        WHERE e.kind = 'PRICE_BOOK_UPDATE' AND NOT e.meta ? 'by') THEN
        PERFORM tollgate.write_change('PRICE_BOOK_UPDATE', 'model_price', one->>'id', one->>'model', changed, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_price AFTER INSERT OR UPDATE OR DELETE ON public.model_prices
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_price();

CREATE CONSTRAINT TRIGGER record_cost_preference AFTER UPDATE ON public.cost_preference
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION tollgate.record_untold_change('cost_preference', 'COST_PREFERENCE_CHANGE', '', 'wins');

-- A link to somebody at an identity provider is a way into an account. One that comes, goes or changes
-- hands without an event of its person was written past the application.
CREATE OR REPLACE FUNCTION tollgate.record_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    subject text := coalesce(is_now, was)->>'user_id';
BEGIN
    IF NOT EXISTS (SELECT FROM tollgate.events_about('user', subject) AS e
        WHERE e.kind IN ('USER_CREATED', 'USER_CHANGED') AND NOT e.meta ? 'by') THEN
        PERFORM tollgate.write_change('USER_CHANGED', 'user', subject,
            (SELECT u.username FROM public.auth_user AS u WHERE u.id = subject::bigint),
            jsonb_build_object('single_sign_on', jsonb_build_object('old', was->'uid', 'new', is_now->'uid')), TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_link
    AFTER INSERT OR DELETE OR UPDATE OF user_id, provider, uid ON public.socialaccount_socialaccount
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_link();

-- A second factor is a way into an account. The event of its person names the factor. Using one (the mask
-- of used recovery codes grows, codes are viewed) and naming a passkey change nothing that opens a door.
CREATE OR REPLACE FUNCTION tollgate.record_factor() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    subject text := coalesce(is_now, was)->>'user_id';
    factor text := coalesce(is_now, was)->>'type';
BEGIN
    IF TG_OP = 'UPDATE' AND was->'user_id' = is_now->'user_id' AND was->'type' = is_now->'type'
        AND (was->'data') - '{used_mask,viewed_at,name}'::text[]
            = (is_now->'data') - '{used_mask,viewed_at,name}'::text[]
        AND coalesce(was->'data'->>'used_mask', '0')::bigint
            = coalesce(was->'data'->>'used_mask', '0')::bigint
            & coalesce(is_now->'data'->>'used_mask', '0')::bigint
    THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'UPDATE' AND EXISTS (SELECT FROM tollgate.events_about('user', subject) AS e
        WHERE e.kind = CASE TG_OP WHEN 'INSERT' THEN 'SECOND_FACTOR_ADDED' ELSE 'SECOND_FACTOR_REMOVED' END
            AND e.meta->>'factor' = factor AND NOT e.meta ? 'by')
    THEN
        RETURN NULL;
    END IF;
    PERFORM tollgate.write_change(
        'SECOND_FACTOR_' || CASE TG_OP WHEN 'INSERT' THEN 'ADDED' WHEN 'DELETE' THEN 'REMOVED' ELSE 'CHANGED' END,
        'user', subject,
        (SELECT u.username FROM public.auth_user AS u WHERE u.id = subject::bigint),
        jsonb_build_object('second_factor', CASE TG_OP
            WHEN 'INSERT' THEN jsonb_build_object('old', NULL, 'new', factor)
            WHEN 'DELETE' THEN jsonb_build_object('old', factor, 'new', NULL)
            ELSE jsonb_build_object('old', was->>'type', 'new', factor) END), TG_OP);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_factor
    AFTER INSERT OR DELETE OR UPDATE OF user_id, type, data ON public.mfa_authenticator
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_factor();
