-- Which rows of this floor leave an event whenever they change (opslog/sql/recording.sql).
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.budgets
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change(
        'budget', 'LIMIT_CHANGE', '/', 'scope', 'subject', 'window', 'measure');
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.kill_switches
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change(
        'kill_switch', 'KILL_SWITCH_CHANGE', ' ', 'scope', 'target');
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.feature_flags
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('feature', 'FEATURE_CHANGE', '', 'feature');
CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON public.preflight_rules
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change(
        'preflight_check', 'PREFLIGHT_RULE_CHANGE', '', 'check_name');
-- (Its transitions raise alerts.)
CREATE OR REPLACE TRIGGER record_change
    AFTER UPDATE OF open_seconds, probe_seconds, recent_runs, error_percent ON public.circuit_breakers
    FOR EACH ROW WHEN ((OLD.open_seconds, OLD.probe_seconds, OLD.recent_runs, OLD.error_percent)
        IS DISTINCT FROM (NEW.open_seconds, NEW.probe_seconds, NEW.recent_runs, NEW.error_percent))
    EXECUTE FUNCTION tollgate.record_change('circuit_breaker', 'BREAKER_SETTINGS_CHANGE', ' ', 'scope', 'subject');
-- A transition without an alert was written past the breaker's routines.
CREATE OR REPLACE FUNCTION tollgate.record_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner constant text[] := tollgate.breaker_owner(NEW);
BEGIN
    IF NOT EXISTS (SELECT FROM tollgate.events_about(owner[1], owner[2]) AS e
        WHERE e.kind LIKE 'BREAKER\_%' AND e.meta->>'state' = NEW.state AND NOT e.meta ? 'by') THEN
        PERFORM tollgate.write_change('BREAKER_CHANGE', owner[1], owner[2], tollgate.breaker_name(NEW),
            tollgate.changes(jsonb_build_object('state', OLD.state), jsonb_build_object('state', NEW.state)), TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_transition AFTER UPDATE OF state ON public.circuit_breakers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION tollgate.record_transition();

-- Who must agree to what is changed on a page that covers all rules of a measure at once: what it sent is
-- compared with what there is in the end.
CREATE OR REPLACE FUNCTION tollgate.approval_rules_of(p_measure text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(r.minimum, r.maximum, (
            SELECT jsonb_object_agg(g.name, s.count) FROM public.approval_slots AS s
            JOIN public.auth_group AS g ON g.id = s.group_id WHERE s.rule_id = r.id)) ORDER BY r.minimum), '[]')
    FROM public.approval_rules AS r WHERE r.measure = p_measure
$$;
CREATE OR REPLACE FUNCTION tollgate.approval_rules_told(told jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array((x->>'from')::numeric, (x->>'to')::numeric, x->'slots')
        ORDER BY (x->>'from')::numeric), '[]')
    FROM jsonb_array_elements(told) AS x
$$;

CREATE OR REPLACE FUNCTION tollgate.record_approval_rule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb := to_jsonb(NEW);
    one jsonb := coalesce(is_now, was);
    changed jsonb := tollgate.changes(was, is_now);
    subject text := coalesce(one->>'measure',
        (SELECT r.measure FROM public.approval_rules AS r WHERE r.id = (one->>'rule_id')::bigint));
BEGIN
    -- (Of a slot whose rule is gone the rule's own row tells.)
    IF changed IS NOT NULL AND subject IS NOT NULL AND NOT EXISTS (
        SELECT FROM tollgate.events_about('approval_rules', subject) AS e
        WHERE e.kind = 'APPROVAL_RULES_CHANGE' AND e.meta->'changes'->'rules' ? 'new'
            AND tollgate.approval_rules_told(e.meta->'changes'->'rules'->'new')
            = tollgate.approval_rules_of(subject)) THEN
        PERFORM tollgate.write_change('APPROVAL_RULES_CHANGE', 'approval_rules', subject, subject, changed, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_approval_rule AFTER INSERT OR UPDATE OR DELETE ON public.approval_rules
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_approval_rule();
CREATE CONSTRAINT TRIGGER record_approval_rule AFTER INSERT OR UPDATE OR DELETE ON public.approval_slots
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_approval_rule();

-- A signature without an event was written past the application. The row stays either way.
CREATE OR REPLACE FUNCTION tollgate.record_vote() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    request public.change_requests;
BEGIN
    SELECT * INTO request FROM public.change_requests AS r WHERE r.id = NEW.request_id;
    IF NOT EXISTS (SELECT FROM tollgate.events_about(request.subject_type, request.subject_id) AS e
        WHERE e.kind LIKE 'CAP_CHANGE%' AND e.meta->>'requestId' = NEW.request_id::text
            AND NOT e.meta ? 'by') THEN
        PERFORM tollgate.record(row('CAP_CHANGE_VOTE',
            format('Request #%s: %s by user %s', NEW.request_id, NEW.decision, NEW.voter_id),
            request.subject_type, request.subject_id, '', session_user,
            jsonb_build_object('requestId', NEW.request_id, 'voterId', NEW.voter_id, 'decision', NEW.decision,
                'revision', NEW.revision, 'by', TG_OP), '')::tollgate.event);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_vote AFTER INSERT ON public.change_votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_vote();
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE ON public.approval_limits
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_change('approval_limit', 'LIMIT_CHANGE', '', 'name');

-- Since when somebody's votes count. A row that comes, goes or changes without an event of their groups
-- was written past the application.
CREATE OR REPLACE FUNCTION tollgate.record_membership() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_now jsonb := to_jsonb(NEW);
    one jsonb := coalesce(is_now, to_jsonb(OLD));
    changed jsonb := tollgate.changes(to_jsonb(OLD), is_now);
BEGIN
    IF changed IS NOT NULL AND NOT EXISTS (
        SELECT FROM tollgate.events_about('user', one->>'person_id') AS e WHERE e.meta->'changes' ? 'groups') THEN
        PERFORM tollgate.write_change('USER_CHANGED', 'user', one->>'person_id',
            (SELECT u.username FROM public.auth_user AS u WHERE u.id = (one->>'person_id')::bigint), changed, TG_OP);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_membership AFTER INSERT OR UPDATE OR DELETE ON public.memberships
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollgate.record_membership();
