-- The checks of a start, in their order: that of the table in docs/api.md. The first that refuses wins.
CREATE TYPE tollgate.start_check AS ENUM (
    'replay',               -- its key has an answer already
    'stale_prices',
    'unknown_work_order',
    'kill_switch',
    'breaker_open',
    'feature_off',
    'feature_rate',
    'feature_cost',
    'suspended',
    'unknown_agent',
    'concurrency',          -- of the work order
    'shared_concurrency',   -- of its model tier, of all
    'runs_per_day',
    'usd_per_day',
    'quota',                -- of a user, of an address
    'shared_budget',
    'unpriced_model',
    'confirm',
    'breaker_minute',       -- the breaker opens: too much is committed in this minute already
    'none'                  -- nothing refuses it
);

-- Pure: the first check that refuses an ask whatever is counted. (Put into the query that asks.)
CREATE OR REPLACE FUNCTION tollgate.first_refusal(
    replays boolean, stale boolean, status text, killed boolean, tripped boolean, feature_is_off boolean,
    agent_refused boolean, unpriced boolean, costly boolean
) RETURNS tollgate.start_check LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN replays THEN 'replay'::tollgate.start_check WHEN stale THEN 'stale_prices'
        WHEN status IS NULL THEN 'unknown_work_order' WHEN killed THEN 'kill_switch'
        WHEN tripped THEN 'breaker_open' WHEN feature_is_off THEN 'feature_off' WHEN status <> 'draft' THEN 'suspended'
        WHEN agent_refused THEN 'unknown_agent' WHEN unpriced THEN 'unpriced_model' WHEN costly THEN 'confirm'
        ELSE 'none' END
$$;

-- Where a shared limit stands among the checks. `none`: it refuses nobody, and only alerts.
CREATE OR REPLACE FUNCTION tollgate.check_of(scope text, win text, measure text) RETURNS tollgate.start_check
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN scope = 'work_order' THEN 'none'::tollgate.start_check WHEN win = 'open' THEN 'shared_concurrency'
        WHEN scope IN ('user', 'address') THEN 'quota'
        WHEN scope = 'global' AND win = 'rolling_minute' AND measure = 'usd' THEN 'breaker_minute'
        ELSE 'shared_budget' END
$$;

-- At a limit that is used up nothing has room, an ask for nothing included.
CREATE OR REPLACE FUNCTION tollgate.is_over(used numeric, more numeric, amount numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT used >= amount OR used + more > amount
$$;

-- The words of a refusal, but for those of shared limits. `p_named`: the feature, the status of the work order, or the
-- amount that needs a confirmation.
CREATE OR REPLACE FUNCTION tollgate.check_refusal(
    p_check tollgate.start_check, p_named text DEFAULT NULL, p_after integer DEFAULT NULL,
    p_until timestamptz DEFAULT NULL
) RETURNS tollgate.answer LANGUAGE sql IMMUTABLE AS $$
    SELECT tollgate.refusal(v.status, v.check_name::text, v.error, coalesce(v.after, p_after), p_until)
    FROM (VALUES
        ('unknown_work_order'::tollgate.start_check, 404, 'unknown work order', NULL),
        ('breaker_open', 503, 'the circuit breaker is open', NULL),
        ('feature_off', 403, 'feature ' || p_named || ' is switched off', NULL),
        ('suspended', 409, 'work order is ' || p_named, NULL),
        ('unknown_agent', 403, 'unknown agent', NULL),
        ('concurrency', 429, 'concurrency limit reached', 5),
        ('runs_per_day', 429, 'runs/day cap reached', NULL),
        ('usd_per_day', 429, 'budget cap reached', NULL),
        ('unpriced_model', 422, 'the model has no price: give estimatedCostUsd, or have a price entered', NULL),
        ('confirm', 428, 'the estimate is over $' || p_named || ': send "confirm": true', NULL)
    ) AS v (check_name, status, error, after)
    WHERE v.check_name = p_check
$$;
