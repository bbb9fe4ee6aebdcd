-- meter.meter.used
SELECT 'Committed in the last 60 to 65 seconds', sum(settled + reserved) FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- meter.meter.settled
SELECT 'Committed in the last 60 to 65 seconds', sum(settled) FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- meter.meter.held
SELECT 'Committed in the last 60 to 65 seconds', sum(reserved) FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- meter.meter.share
SELECT 'Committed in the last 60 to 65 seconds', sum(settled + reserved) / (SELECT amount FROM budgets
    WHERE scope = 'global' AND "window" = 'rolling_minute' AND measure = 'usd') FROM committed, clock
WHERE at >= date_bin('5 seconds', now - interval '60 seconds', 'epoch');

-- meter.meter.limit
SELECT 'Committed in the last 60 to 65 seconds', amount FROM budgets
WHERE scope = 'global' AND "window" = 'rolling_minute' AND measure = 'usd';

-- breaker_board.pace.warns_at
SELECT warning_amount FROM budgets WHERE scope = 'global' AND "window" = 'rolling_minute' AND measure = 'usd';

-- breaker_board.pace.trips_at
SELECT amount FROM budgets WHERE scope = 'global' AND "window" = 'rolling_minute' AND measure = 'usd';
