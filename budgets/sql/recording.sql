-- Whoever changes one of these, by whatever way, leaves an event with what was and what is. The
-- application says who acts and why for the length of its transaction (budgets/acting.py); that is
-- information, no proof: the database user is stamped on the event in any case.
CREATE OR REPLACE FUNCTION tollgate.record_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    one jsonb := coalesce(is_now, was);
    label text;
    changed jsonb;
BEGIN
    label := CASE TG_ARGV[0]
        WHEN 'budget' THEN concat_ws('/', one->>'scope', nullif(one->>'subject', ''), one->>'window',
            one->>'measure')
        WHEN 'feature' THEN one->>'feature'
        WHEN 'preflight_check' THEN one->>'check_name'
        WHEN 'approval_limit' THEN one->>'name'
        ELSE concat_ws(' ', one->>'scope', nullif(one->>'target', ''), nullif(one->>'subject', ''))
        END;
    SELECT jsonb_object_agg(k, jsonb_build_object('old', was->k, 'new', is_now->k)) INTO changed
    FROM jsonb_object_keys(one) k
    WHERE coalesce(was->k, 'null') <> coalesce(is_now->k, 'null') AND k NOT IN ('id', 'changed_at', 'changed_by', 'reason', 'set_by_person_id');
    IF changed IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.operations_events
        (kind, message, owner_type, owner_id, owner_label, actor, meta, request_id)
    VALUES (TG_ARGV[1],
        format('%s %s: %s', initcap(replace(TG_ARGV[0], '_', ' ')), label,
            (SELECT string_agg(format('%s %s → %s', k, coalesce(nullif(was->>k, ''), 'none'),
                coalesce(nullif(is_now->>k, ''), 'none')), ', ' ORDER BY k)
             FROM jsonb_object_keys(changed) k)),
        TG_ARGV[0], one->>'id', label,
        coalesce(nullif(current_setting('tollgate.actor', true), ''), session_user),
        jsonb_build_object('changes', changed, 'by', TG_OP,
            'reason', nullif(current_setting('tollgate.reason', true), '')),
        coalesce(current_setting('tollgate.request_id', true), ''));
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.budgets
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('budget', 'LIMIT_CHANGE');
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.kill_switches
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('kill_switch', 'KILL_SWITCH_CHANGE');
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.feature_flags
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('feature', 'FEATURE_CHANGE');
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE OR DELETE ON public.preflight_rules
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('preflight_check', 'PREFLIGHT_RULE_CHANGE');
-- (Its transitions are told by alerts.)
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE OF open_seconds, recent_runs, error_percent ON public.circuit_breakers
    FOR EACH ROW WHEN ((OLD.open_seconds, OLD.recent_runs, OLD.error_percent)
        IS DISTINCT FROM (NEW.open_seconds, NEW.recent_runs, NEW.error_percent))
    EXECUTE FUNCTION tollgate.record_change('circuit_breaker', 'BREAKER_SETTINGS_CHANGE');
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE ON public.approval_limits
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('approval_limit', 'LIMIT_CHANGE');
