"""The query behind each figure: the runbook's six, for the hours of one incident, ready to be run.

They are text for people (`psql`, a notebook); nothing here is executed. Names are put in as quoted
literals.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from string import Template

PLAIN = re.compile(r"[\w .,:;/@+-]*")
BEFORE = timedelta(hours=48)  # as the runbook looks back

CONFIRM = """\
SELECT DATE_TRUNC('hour', created_at) AS hour, COUNT(*) AS requests,
    SUM(cost_usd) AS total_cost, AVG(cost_usd) AS avg_cost_per_request
FROM inference_events
WHERE $everything
GROUP BY 1 ORDER BY 1;"""
TRAFFIC = """\
SELECT DATE_TRUNC('hour', created_at) AS hour, COUNT(*) AS requests,
    COUNT(DISTINCT user_id) AS unique_users, SUM(cost_usd) AS total_cost,
    SUM(cost_usd) / COUNT(*) AS cost_per_request
FROM inference_events
WHERE $feature
GROUP BY 1 ORDER BY 1;"""
HIDDEN = """\
SELECT DATE_TRUNC('hour', created_at) AS hour, COUNT(*) AS requests,
    COUNT(*) FILTER (WHERE trigger_type = 'undo') AS undo,
    COUNT(*) FILTER (WHERE trigger_type = 'retry') AS retry,
    COUNT(*) FILTER (WHERE trigger_type = 'auto_save') AS auto_save,
    AVG((trigger_type IN ('undo', 'retry', 'auto_save'))::int) AS hidden_ratio,
    SUM(cost_usd) FILTER (WHERE trigger_type IN ('undo', 'retry', 'auto_save')) AS hidden_cost
FROM inference_events
WHERE $feature
GROUP BY 1 ORDER BY 1;"""
TOKENS = """\
SELECT DATE_TRUNC('hour', created_at) AS hour,
    AVG(input_tokens) AS avg_input, AVG(output_tokens) AS avg_output,
    PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY input_tokens) AS p95_input,
    PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY output_tokens) AS p95_output
FROM inference_events
WHERE $feature
GROUP BY 1 ORDER BY 1;"""
ATTRIBUTION = """\
SELECT feature, model, created_at >= $started AS in_the_spike, COUNT(*) AS requests,
    SUM(cost_usd) AS total_cost, SUM(cost_usd) / COUNT(*) AS cost_per_request
FROM inference_events
WHERE $everything
GROUP BY 1, 2, 3 ORDER BY total_cost DESC NULLS LAST;"""
TOOLS = """\
SELECT tool_name, created_at >= $started AS in_the_spike, COUNT(*) AS total_calls,
    COUNT(*) FILTER (WHERE NOT success) AS failures,
    AVG((NOT success)::int) AS failure_rate, AVG(retries) AS avg_retries
FROM tool_calls
WHERE $feature
GROUP BY 1, 2 ORDER BY failures DESC;"""
BY_STEP = {
    "confirm": CONFIRM,
    "traffic": TRAFFIC,
    "hidden": HIDDEN,
    "tokens": TOKENS,
    "attribution": ATTRIBUTION,
    "tools": TOOLS,
}


def of(started_at: datetime, until: datetime, feature: str = "") -> Mapping[str, str]:
    """By step. `until` is not included."""
    everything = f"created_at >= {moment(started_at - BEFORE)} AND created_at < {moment(until)}"
    names = {
        "everything": everything,
        "feature": everything + (f" AND feature = {literal(feature)}" if feature else ""),
        "started": moment(started_at),
    }
    return {step: Template(query).substitute(names) for step, query in BY_STEP.items()}


def moment(at: datetime) -> str:
    return f"timestamptz '{at.isoformat(sep=' ')}'"


def literal(text: str) -> str:
    """As PostgreSQL reads it, whatever its setting for backslashes is.

    What could mean something where the query is shown (a page, a Markdown fence) is written as the
    number of its character.
    """
    if PLAIN.fullmatch(text):
        return f"'{text}'"
    told = (each if PLAIN.fullmatch(each) else f"\\U{ord(each):08X}" for each in text)
    return f"E'{''.join(told)}'"
