-- The tables of the job queue (django-q2). They say what the job worker runs, so they are not the
-- application's to write; what it reads from them is never unpickled.

-- A schedule is the owner's: which function, how often. The worker moves on when it is due.
CREATE OR REPLACE FUNCTION tollgate.guard_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (TG_OP <> 'UPDATE' OR to_jsonb(NEW) - '{next_run,task}'::text[] <> to_jsonb(OLD) - '{next_run,task}'::text[])
        AND NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = TG_RELID), 'MEMBER') THEN
        RAISE EXCEPTION 'schedules are made by migrations, as the owner'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE OR REPLACE TRIGGER guard_schedule BEFORE INSERT OR UPDATE OR DELETE ON public.django_q_schedule
    FOR EACH ROW EXECUTE FUNCTION tollgate.guard_schedule();

-- The queue keeps arguments and results as pickles without a signature, and the name of a function to
-- call afterwards: whoever can write a row could have the worker run what they like. No job of ours has
-- any of these; why one failed is in the worker's log.
CREATE OR REPLACE FUNCTION tollgate.keep_no_pickles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.args := NULL;
    NEW.kwargs := NULL;
    NEW.result := NULL;
    NEW.hook := NULL;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_no_pickles BEFORE INSERT OR UPDATE ON public.django_q_task
    FOR EACH ROW EXECUTE FUNCTION tollgate.keep_no_pickles();
