"""What stops or narrows spending: limits, kill switch, breakers, quotas, mitigations."""
