-- One person alone. Where four eyes are asked for, the second signature may be the same person's, if the
-- owner of the installation has switched that on, nobody else could sign, and some time has passed; the
-- person shows their second factor anew for it. The facts stand in the signed row (`second_factor_at`)
-- and in the row of the rule: no session variable has a say in it.

-- Who could sign for anything: by a group that an approval rule names, or by a right to decide, to sign a
-- review or to correct a cost. A superuser has none of these by being one.
CREATE OR REPLACE FUNCTION tollgate.signers() RETURNS TABLE (person_id integer) LANGUAGE sql STABLE AS $$
    SELECT u.id FROM public.auth_user AS u
    WHERE u.is_active AND (
        EXISTS (
            SELECT FROM public.auth_user_groups AS m
            WHERE m.user_id = u.id AND (
                EXISTS (SELECT FROM public.approval_slots AS s WHERE s.group_id = m.group_id)
                OR EXISTS (
                    SELECT FROM public.auth_group_permissions AS g
                    JOIN public.auth_permission AS p ON p.id = g.permission_id
                    WHERE g.group_id = m.group_id
                        AND p.codename IN ('decide_changerequest', 'sign_monthlyreview', 'correct_cost'))))
        OR EXISTS (
            SELECT FROM public.auth_user_user_permissions AS d
            JOIN public.auth_permission AS p ON p.id = d.permission_id
            WHERE d.user_id = u.id AND p.codename IN ('decide_changerequest', 'sign_monthlyreview', 'correct_cost')))
$$;

-- Whether anybody else lost an account, a group or a right within a day, or the rules were changed that
-- name the groups: who puts the others out does not sign alone right after.
CREATE OR REPLACE FUNCTION tollgate.somebody_left(p_person integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM public.operations_events AS e
        WHERE e.kind IN ('USER_CHANGED', 'USER_DELETED', 'GROUP_CHANGED', 'GROUP_DELETED', 'APPROVAL_RULES_CHANGE')
            AND e.created_at > now() - interval '24 hours'
            AND NOT (e.owner_type = 'user' AND e.owner_id = p_person::text)
            AND (e.kind IN ('USER_DELETED', 'GROUP_DELETED', 'APPROVAL_RULES_CHANGE')
                OR e.meta->'changes'->'is_active'->>'new' = 'false'
                OR NOT coalesce(e.meta->'changes'->'groups'->'new' @> (e.meta->'changes'->'groups'->'old'), true)
                OR NOT coalesce(
                    e.meta->'changes'->'permissions'->'new' @> (e.meta->'changes'->'permissions'->'old'), true)))
$$;

-- The person who may sign alone now, and how long after; no row where there is none.
CREATE OR REPLACE FUNCTION tollgate.solo_operator() RETURNS TABLE (person_id integer, waiting interval)
LANGUAGE sql STABLE AS $$
    SELECT s.person, r.waiting
    FROM (
        SELECT n.enabled, make_interval(mins => n.waiting_minutes) AS waiting FROM public.solo_operator_rules AS n
        ORDER BY n.id DESC LIMIT 1) AS r
    CROSS JOIN LATERAL (SELECT min(x.person_id) AS person, count(*) AS people FROM tollgate.signers() AS x) AS s
    WHERE r.enabled AND s.people = 1 AND NOT tollgate.somebody_left(s.person)
$$;

-- Refuses a signature that is nobody's second one. `p_since`: when what is signed began to wait.
-- (Memberships change one transaction after the other, under a lock that this one waits for: whoever
-- becomes the second person meanwhile is seen.)
CREATE OR REPLACE FUNCTION tollgate.check_solo(p_person integer, p_since timestamptz, p_factor_at timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    solo record;
BEGIN
    LOCK TABLE public.memberships IN SHARE MODE;
    SELECT s.person_id, s.waiting INTO solo FROM tollgate.solo_operator() AS s;
    PERFORM tollgate.forbid(solo.person_id IS DISTINCT FROM p_person,
        'Somebody else must sign: solo operator is not in effect.');
    PERFORM tollgate.forbid(p_since IS NULL OR clock_timestamp() < p_since + solo.waiting,
        format('As the solo operator you can sign from %s UTC on.',
            to_char((p_since + solo.waiting) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')));
    PERFORM tollgate.forbid(p_factor_at IS NULL OR p_factor_at < p_since + solo.waiting OR p_factor_at > clock_timestamp()
        OR p_factor_at < clock_timestamp() - interval '1 hour',
        'As the solo operator, confirm this with your second factor first.');
END $$;

-- Whoever changes the rule, by whatever way.
CREATE OR REPLACE FUNCTION tollgate.record_solo_rule() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was public.solo_operator_rules;
BEGIN
    SELECT * INTO was FROM public.solo_operator_rules AS r WHERE r.id <> NEW.id ORDER BY r.id DESC LIMIT 1;
    PERFORM tollgate.record(row('SOLO_OPERATOR_CHANGED', format('Solo operator switched %s%s: %s',
            CASE WHEN NEW.enabled THEN 'on' ELSE 'off' END,
            CASE WHEN NEW.enabled THEN format(', second signature after %s minutes', NEW.waiting_minutes) ELSE '' END,
            NEW.reason),
        'solo_operator_rule', NEW.id::text, 'Solo operator', NEW."by",
        jsonb_build_object('reason', NEW.reason, 'changes', jsonb_build_object(
            'enabled', jsonb_build_object('old', coalesce(was.enabled, false), 'new', NEW.enabled),
            'waitingMinutes', jsonb_build_object('old', was.waiting_minutes, 'new', NEW.waiting_minutes))), '')
        ::tollgate.event);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER record_rule AFTER INSERT ON public.solo_operator_rules
    FOR EACH ROW EXECUTE FUNCTION tollgate.record_solo_rule();

-- A confirmation of one's own correction of a cost.
CREATE OR REPLACE FUNCTION tollgate.guard_correction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.second_factor_at IS NOT NULL THEN
        PERFORM tollgate.check_solo(NEW.decided_by_id, OLD.asked_at, NEW.second_factor_at);
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER guard BEFORE UPDATE ON public.cost_corrections
    FOR EACH ROW WHEN (OLD.second_factor_at IS DISTINCT FROM NEW.second_factor_at)
    EXECUTE FUNCTION tollgate.guard_correction();
