-- Which rows of this floor leave an event whenever they change (opslog/sql/recording.sql).

CREATE CONSTRAINT TRIGGER record_change
    AFTER UPDATE OF title, refuse_unknown_agents, team, cost_dimension ON public.work_orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION tollgate.record_untold_change('work_order', 'WORK_ORDER_CHANGED', '', 'title');
CREATE CONSTRAINT TRIGGER record_change AFTER UPDATE ON public.agents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION tollgate.record_untold_change('agent', 'AGENT_CHANGED', '', 'name');

-- A token without an event was made or changed past the application. Columns that say when it was
-- last used are no change of it.
CREATE OR REPLACE FUNCTION tollgate.record_token() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_now jsonb := to_jsonb(NEW);
    one jsonb := coalesce(is_now, to_jsonb(OLD));
    changed jsonb := tollgate.changes(to_jsonb(OLD), is_now);
    kind text := CASE TG_OP WHEN 'INSERT' THEN 'TOKEN_CREATED' WHEN 'DELETE' THEN 'TOKEN_DELETED' ELSE 'TOKEN_CHANGED' END;
    recorded boolean;
BEGIN
    IF changed IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        recorded := EXISTS (SELECT FROM tollgate.events_about('service_token', one->>'id') AS e
            WHERE e.kind = 'TOKEN_CREATED' AND e.meta->'scopes' = is_now->'scopes'
                AND e.meta->'prefix' = is_now->'prefix');
    ELSIF TG_OP = 'UPDATE' AND OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL AND changed - 'revoked_at' = '{}' THEN
        kind := 'TOKEN_REVOKED';
        recorded := EXISTS (SELECT FROM tollgate.events_about('service_token', one->>'id') AS e
            WHERE e.kind = 'TOKEN_REVOKED');
    ELSE
        recorded := TG_OP = 'UPDATE' AND tollgate.is_told('service_token', one->>'id', changed);
    END IF;
    IF NOT recorded THEN
        PERFORM tollgate.write_change(kind, 'service_token', one->>'id', one->>'name', changed, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_token
    AFTER INSERT OR DELETE OR UPDATE OF id, name, prefix, digest, scopes, owner_id, expires_at, networks, work_orders,
        surface, feature, revoked_at, lineage, predecessor_id, created_by_id, max_run_usd ON public.service_tokens
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_token();

-- What a run cost is settled by the routines of the floor above, which write the event themselves; the
-- application's role cannot change a run otherwise (opslog/database/roles.py). Whoever can leaves an event. The
-- condition costs a finish nothing: a run that was open and is ended with the fingerprint of a request
-- is not looked at again.
CREATE OR REPLACE FUNCTION tollgate.record_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := tollgate.changes(
        jsonb_build_object('cost', OLD.cost, 'status', OLD.status, 'reserved_usd', OLD.reserved_usd, 'wo_id', OLD.wo_id),
        CASE TG_OP WHEN 'UPDATE' THEN
            jsonb_build_object('cost', NEW.cost, 'status', NEW.status, 'reserved_usd', NEW.reserved_usd, 'wo_id', NEW.wo_id)
        END);
BEGIN
    IF changed IS NOT NULL AND NOT EXISTS (SELECT FROM tollgate.events_about('work_order', OLD.wo_id) AS e
        WHERE e.meta->>'runId' = OLD.id::text AND NOT e.meta ? 'by') THEN
        PERFORM tollgate.record(row(CASE TG_OP WHEN 'UPDATE' THEN 'RUN_CHANGED' ELSE 'RUN_DELETED' END,
            format('Run of %s %s past the settlement', OLD.agent_name, CASE TG_OP WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END),
            'work_order', OLD.wo_id, '', coalesce(nullif(current_setting('tollgate.actor', true), ''), session_user),
            jsonb_build_object('woId', OLD.wo_id, 'runId', OLD.id, 'agentName', OLD.agent_name, 'changes', changed,
                'by', TG_OP), '')::tollgate.event);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_run AFTER UPDATE OF cost, status, wo_id ON public.work_order_runs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status <> 'running' OR NEW.finish_fingerprint IS NULL OR OLD.wo_id <> NEW.wo_id)
    EXECUTE FUNCTION tollgate.record_run();
CREATE CONSTRAINT TRIGGER record_removal AFTER DELETE ON public.work_order_runs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_run();
