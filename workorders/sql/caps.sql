-- `caps` shows the two caps of a work order as JSON, for people who read it by SQL. It is made from the
-- typed columns, and those change through an applied cap change. A generated column could only say
-- that it is one; this says what to do instead.
CREATE OR REPLACE FUNCTION tollgate.caps_of(p_runs integer, p_usd numeric) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{"runsPerDay": ' || p_runs::text || ', "usdPerDay": ' || p_usd::text || '}')::jsonb
$$;

CREATE OR REPLACE FUNCTION tollgate.keep_caps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    right_ones jsonb := tollgate.caps_of(NEW.runs_per_day, NEW.usd_per_day);
BEGIN
    IF NEW.caps <> right_ones
        AND (CASE TG_OP WHEN 'INSERT' THEN NEW.caps <> '{}'::jsonb ELSE NEW.caps <> OLD.caps END) THEN
        RAISE EXCEPTION 'the caps of work order % cannot be written directly', NEW.id
            USING ERRCODE = 'restrict_violation',
                DETAIL = 'A cap changes through a request that people approve, which leaves its event. Lowering '
                    'one takes a single operator and applies immediately.',
                HINT = 'In the admin: Work orders, the work order, Request a cap change. Over the API: POST '
                    '/api/work-orders/ID/cap-changes with a token of scope "request". In an emergency: Break-glass on its page. '
                    'To stop it: UPDATE work_orders SET status = ''suspended'' WHERE id = …';
    END IF;
    NEW.caps := right_ones;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_caps BEFORE INSERT OR UPDATE OF runs_per_day, usd_per_day, caps ON public.work_orders
    FOR EACH ROW EXECUTE FUNCTION tollgate.keep_caps();
