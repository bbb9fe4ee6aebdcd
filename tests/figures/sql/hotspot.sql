-- hotspot_range.hotspot.measured_month_low
SELECT h.id::text, pg_temp.month_of_telemetry(false) FROM hotspots h WHERE h.feature = '*';

-- hotspot_range.hotspot.measured_month_high
SELECT h.id::text, pg_temp.month_of_telemetry(true) FROM hotspots h WHERE h.feature = '*';

-- hotspot_range.hotspot.measured_request_low
SELECT h.id::text, round(pg_temp.interpolated(array_agg(m.mean), 0.05), 9) FROM hotspots h, means m WHERE h.feature = '*' GROUP BY 1;

-- hotspot_range.hotspot.measured_request_high
SELECT h.id::text, round(pg_temp.interpolated(array_agg(m.mean), 0.95), 9) FROM hotspots h, means m WHERE h.feature = '*' GROUP BY 1;

-- hotspot.hotspot.typed_month_low
SELECT typed_month_low FROM hotspots WHERE feature = '*';

-- hotspot.hotspot.typed_month_high
SELECT typed_month_high FROM hotspots WHERE feature = '*';
