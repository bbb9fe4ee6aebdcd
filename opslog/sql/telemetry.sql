-- What programs report of model calls and tool calls: partitioned by week, so that what is too old goes
-- by dropping a table. The tables are made by opslog/migrations.

-- Whatever is written, by whatever way, makes its hours stale.
CREATE OR REPLACE FUNCTION tollgate.hours_are_stale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.stale_hours (hour) SELECT DISTINCT date_trunc('hour', created_at, 'UTC') FROM written;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER hours_are_stale AFTER INSERT ON public.inference_events REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.hours_are_stale();
CREATE OR REPLACE TRIGGER hours_are_stale AFTER INSERT ON public.tool_calls REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.hours_are_stale();

-- Makes the weekly partitions (from Monday, UTC) that hold `since` to `until`, which is two weeks ahead.
-- Runs with the owner's rights, because the application's role may not create tables. A week whose
-- rows are in the default partition already stays there: moving them would lock the table.
CREATE OR REPLACE FUNCTION tollgate.ensure_telemetry_partitions_v1(
    since date DEFAULT current_date, until date DEFAULT current_date + 14
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    week date := date_trunc('week', since)::date;
    parent text;
    name text;
    made integer := 0;
    taken boolean;
BEGIN
    IF since < current_date - 3660 OR until > current_date + 366 THEN
        RAISE EXCEPTION 'partitions are made for ten years back and a year ahead at most';
    END IF;
    WHILE week <= until LOOP
        FOREACH parent IN ARRAY ARRAY['inference_events', 'tool_calls'] LOOP
            name := format('%s_%s', parent, to_char(week, 'YYYY_MM_DD'));
            CONTINUE WHEN to_regclass('public.' || quote_ident(name)) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE created_at >= %L AND created_at < %L)',
                parent || '_default', week::timestamp AT TIME ZONE 'UTC',
                (week + 7)::timestamp AT TIME ZONE 'UTC') INTO taken;
            CONTINUE WHEN taken;
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                name, parent, week::timestamp AT TIME ZONE 'UTC', (week + 7)::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        END LOOP;
        week := week + 7;
    END LOOP;
    RETURN made;
END $$;

-- Drops the weekly partitions all of whose rows are more than so many days old, and such rows of the
-- default partitions; returns the names of the dropped tables. With the owner's rights, so it is
-- careful: partitions of these two tables alone, a week at least, and no week with an hour whose sums
-- are still to be computed, because the sums stay. Whoever calls it leaves an event.
CREATE OR REPLACE FUNCTION tollgate.drop_telemetry_partitions_v1(days integer) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    keep_from timestamptz := clock_timestamp() - make_interval(days => days);
    dropped text[] := '{}'::text[];
    part record;
BEGIN
    IF days IS NULL OR days < 7 THEN
        RAISE EXCEPTION 'telemetry is kept for seven days at least';
    END IF;
    FOR part IN
        SELECT c.relname::text AS name, week.begins
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
        CROSS JOIN LATERAL (
            SELECT to_date(right(c.relname, 10), 'YYYY_MM_DD')::timestamp AT TIME ZONE 'UTC' AS begins
        ) week
        WHERE c.relnamespace = 'public'::regnamespace
            AND i.inhparent IN ('public.inference_events'::regclass, 'public.tool_calls'::regclass)
            AND c.relname ~ ('^' || p.relname || '_[0-9]{4}_[0-9]{2}_[0-9]{2}$')
        ORDER BY week.begins, c.relname
    LOOP
        CONTINUE WHEN part.begins + interval '7 days' > keep_from
            OR EXISTS (SELECT FROM public.stale_hours s
                WHERE s.hour >= part.begins AND s.hour < part.begins + interval '7 days');
        EXECUTE format('DROP TABLE public.%I', part.name);
        dropped := dropped || part.name;
    END LOOP;
    DELETE FROM public.inference_events_default d WHERE d.created_at < keep_from
        AND NOT EXISTS (SELECT FROM public.stale_hours);
    DELETE FROM public.tool_calls_default d WHERE d.created_at < keep_from
        AND NOT EXISTS (SELECT FROM public.stale_hours);
    IF cardinality(dropped) > 0 THEN
        PERFORM tollgate.record(row('TELEMETRY_DROPPED',
            format('Telemetry older than %s days dropped: %s tables', days, cardinality(dropped)), 'telemetry', '', '',
            'tollgate', jsonb_build_object('tables', dropped, 'retentionDays', days), '')::tollgate.event);
    END IF;
    RETURN dropped;
END $$;
