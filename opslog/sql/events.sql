-- The event log: append-only, stamped by the database. Its tables are made by opslog/migrations.

-- One function for every append-only table of the project.
CREATE OR REPLACE FUNCTION tollgate.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;

-- What no way of writing may do. The words are shown to whoever tried.
CREATE OR REPLACE FUNCTION tollgate.forbid(p_wrong boolean, p_message text, p_hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_wrong AND p_hint IS NULL THEN
        RAISE EXCEPTION '%', p_message USING ERRCODE = 'restrict_violation';
    ELSIF p_wrong THEN
        RAISE EXCEPTION '%', p_message USING ERRCODE = 'restrict_violation', HINT = p_hint;
    END IF;
END $$;

-- The commit of this transaction is flushed and waits for a synchronous standby, where there is one, whatever
-- the role or the database says; and the client hears it if that wait is canceled (opslog/database/standby.py).
-- Levels of a higher or another kind, remote_write or remote_apply, stay. It writes something, because an
-- empty commit flushes nothing.
CREATE OR REPLACE FUNCTION tollgate.confirm_commit() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF current_setting('client_min_messages') = 'error' THEN
        PERFORM set_config('client_min_messages', 'warning', true);
    END IF;
    PERFORM pg_logical_emit_message(true, 'tollgate', '');
END $$;

-- The stamp: a BEFORE trigger may not move a row to another partition, so a time that is supplied is
-- refused rather than corrected. The number is the database's, whatever was supplied (COPY and OVERRIDING
-- SYSTEM VALUE tell one): a number that was chosen could be taken twice, or lie ahead of all others, and
-- what is sealed goes by it. The sequence behind it can be advanced by the application, not set.
CREATE OR REPLACE FUNCTION tollgate.stamp_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.created_at NOT BETWEEN clock_timestamp() - interval '10 seconds' AND clock_timestamp() THEN
        RAISE EXCEPTION 'created_at of an event is set by the database; leave it out'
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.id := nextval('public.event_numbers');
    NEW.db_user := session_user;
    NEW.xact := pg_current_xact_id()::text::bigint;
    -- What is on record is acknowledged only when it is safe.
    IF current_setting('synchronous_commit') IN ('off', 'local')
        OR current_setting('client_min_messages') = 'error' THEN
        PERFORM tollgate.confirm_commit();
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER stamp BEFORE INSERT ON public.operations_events
    FOR EACH ROW EXECUTE FUNCTION tollgate.stamp_event();

-- The one text that writes to the log, but for Python's (opslog/events/recording.py).
CREATE TYPE tollgate.event AS (
    kind text, message text, owner_type text, owner_id text, owner_label text, actor text, meta jsonb, request_id text
);
CREATE OR REPLACE FUNCTION tollgate.record(VARIADIC p_events tollgate.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.operations_events (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
    SELECT e.kind, e.message, e.owner_type, coalesce(e.owner_id, ''), coalesce(e.owner_label, ''), e.actor, e.meta,
        coalesce(e.request_id, '')
    FROM unnest(p_events) e;
END $$;

-- How many occurrences an event stands for: refusals of one kind may share one. (Anybody may
-- write an event with any `meta`, so what is no count is one.)
CREATE OR REPLACE FUNCTION tollgate.times(meta jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(meta->'count') = 'number'
        THEN least(greatest((meta->>'count')::numeric, 1), 1000000000)::bigint ELSE 1 END
$$;

-- Makes the monthly partitions from the month of `since` to three months ahead. Runs with the
-- owner's rights, because the application's role may not create tables; it takes nothing but a
-- date. TRUNCATE triggers are not inherited: each partition gets one of its own.
CREATE OR REPLACE FUNCTION tollgate.ensure_event_partitions_v1(since date DEFAULT current_date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    month date := date_trunc('month', since)::date;
    name text;
    made integer := 0;
BEGIN
    IF since < current_date - 3660 THEN
        RAISE EXCEPTION 'partitions are made for ten years back at most';
    END IF;
    WHILE month <= date_trunc('month', current_date) + interval '3 months' LOOP
        name := 'operations_events_' || to_char(month, 'YYYY_MM');
        IF to_regclass('public.' || quote_ident(name)) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE public.%I PARTITION OF public.operations_events FOR VALUES FROM (%L) TO (%L)',
                name, month::timestamp AT TIME ZONE 'UTC',
                (month + interval '1 month')::timestamp AT TIME ZONE 'UTC');
            EXECUTE format(
                'CREATE OR REPLACE TRIGGER append_only_truncate BEFORE TRUNCATE ON public.%I '
                'FOR EACH STATEMENT EXECUTE FUNCTION tollgate.refuse_change()', name);
            made := made + 1;
        END IF;
        month := (month + interval '1 month')::date;
    END LOOP;
    RETURN made;
END $$;

-- The price book's version counts up with every change of a price.
CREATE OR REPLACE FUNCTION tollgate.price_book_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.price_book_version SET version = version + 1 WHERE id = 1;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER price_book_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.model_prices
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.price_book_changed();
