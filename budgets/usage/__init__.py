"""What was used: today, this hour, of which caps, by whom; read-only, for pages and reports."""
