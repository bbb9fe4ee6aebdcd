-- hotspots_note.usd
SELECT feature, coalesce(sum(usd), 0) FROM calls c, clock WHERE c.hour >= now - interval '30 days' AND feature <> ''
    AND NOT EXISTS (SELECT FROM hotspots h WHERE h.feature = c.feature)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;

-- hotspots_note.requests
SELECT feature, n FROM (SELECT feature, count(*) AS n, coalesce(sum(usd), 0) AS usd FROM calls c, clock
    WHERE c.hour >= now - interval '30 days' AND feature <> ''
        AND NOT EXISTS (SELECT FROM hotspots h WHERE h.feature = c.feature)
    GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 5) f;

-- hotspot_range.hotspot.typed_month_low
SELECT id::text, typed_month_low FROM hotspots WHERE typed_month_low IS NOT NULL AND feature <> '*';

-- hotspot_range.hotspot.typed_month_high
SELECT id::text, typed_month_high FROM hotspots WHERE typed_month_high IS NOT NULL AND feature <> '*';

-- hotspot_range.hotspot.measured_month_low
SELECT h.id::text, pg_temp.month_of_telemetry(false) FROM hotspots h WHERE h.feature = '*';

-- hotspot_range.hotspot.measured_month_high
SELECT h.id::text, pg_temp.month_of_telemetry(true) FROM hotspots h WHERE h.feature = '*';

-- hotspot_range.hotspot.measured_request_low
SELECT h.id::text, round(pg_temp.interpolated(array_agg(m.mean), 0.05), 9) FROM hotspots h, means m WHERE h.feature = '*' GROUP BY 1;

-- hotspot_range.hotspot.measured_request_high
SELECT h.id::text, round(pg_temp.interpolated(array_agg(m.mean), 0.95), 9) FROM hotspots h, means m WHERE h.feature = '*' GROUP BY 1;
