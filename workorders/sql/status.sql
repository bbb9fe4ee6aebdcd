-- A work order's status: SQL may suspend, and leaves an event. Everything else (resume, archive) is
-- an act of the application, which records its event with a reason in the same transaction first:
-- that event is what the trigger asks for. Archived is final.
CREATE OR REPLACE FUNCTION tollgate.work_order_status() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted text := CASE NEW.status
        WHEN 'suspended' THEN 'WORK_ORDER_SUSPENDED'
        WHEN 'archived' THEN 'WORK_ORDER_ARCHIVED'
        ELSE 'WORK_ORDER_RESUMED' END;
BEGIN
    PERFORM tollgate.forbid(OLD.status = 'archived', format('work order %s is archived; that is final', OLD.id));
    IF EXISTS (
        SELECT FROM public.operations_events
        WHERE owner_type = 'work_order' AND owner_id = NEW.id AND kind = wanted
            AND xact = pg_current_xact_id()::text::bigint
    ) THEN
        RETURN NEW;
    END IF;
    PERFORM tollgate.forbid(NEW.status <> 'suspended',
        format('work order %s cannot be set to %s by SQL: do it in the admin, with a reason', OLD.id, NEW.status));
    PERFORM tollgate.record(row('WORK_ORDER_SUSPENDED', 'Suspended by SQL', 'work_order', NEW.id, NEW.title, session_user,
        jsonb_build_object('woId', NEW.id, 'old', OLD.status, 'new', NEW.status), '')::tollgate.event);
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER work_order_status BEFORE UPDATE OF status ON public.work_orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION tollgate.work_order_status();
