"""What the attributes of spans mean: one table of names, with where each comes from. Pure.

A span is read by all conventions at once. Where two attributes mean the same, the one that stands
further up is taken. `seen` is the day on which the names were last looked up in the source, in
the version named there.
"""

from typing import Final

from opslog.telemetry.conventions.frameworks import (
    AI_SDK,
    LANGFUSE_SDK,
    LITELLM,
    LITELLM_PAYLOAD,
    OPENINFERENCE,
)
from opslog.telemetry.conventions.meanings import Convention, Counting, Meaning, Role
from opslog.telemetry.conventions.standards import (
    ANTHROPIC,
    GOOGLE,
    OLDER,
    OPENTELEMETRY,
    PYDANTIC,
    SENTRY,
    TOLLGATE,
)

CONVENTIONS: Final = (
    *(TOLLGATE, OPENTELEMETRY, OLDER, ANTHROPIC, SENTRY, PYDANTIC, GOOGLE, AI_SDK),
    *(OPENINFERENCE, LANGFUSE_SDK, LITELLM),
)

# Texts of JSON whose members are read as attributes, under the name of the text and a point.
OF_JSON: Final = frozenset(
    {
        "langfuse.observation.usage_details",
        "langfuse.observation.cost_details",
        "ai.response.providerMetadata",
        "llm.invocation_parameters",
        "hidden_params",
        "metadata",
    }
)
# Under which Tollgate's own names may stand where an SDK prefixes what its caller adds.
CARRIERS: Final = (
    *("ai.telemetry.metadata.", "langfuse.observation.metadata.", "langfuse.trace.metadata."),
    *("traceloop.association.properties.", "metadata."),
)
# Instrumentations that add up before they send: their wholes hold their parts, whatever the name.
# By the beginning of the name of the instrumentation scope.
ADD_UP: Final = (
    "opentelemetry.instrumentation.",  # OpenLLMetry since 0.33, and OpenTelemetry's own
    "openinference.",
    "com.anthropic.sdk.",
    "pydantic-ai",
    "strands",
    "litellm",
    "gcp.vertex.agent",
)

NAMES: Final = {
    name: (place, meaning)
    for place, (name, meaning) in reversed(
        list(enumerate(pair for each in CONVENTIONS for pair in each.names.items()))
    )
}
# Sums of an agent (pydantic-ai) have the names of its calls.
NAMES.update(
    {
        _name.replace("gen_ai.usage.", "gen_ai.aggregated_usage.", 1): NAMES[_name]
        for _name in list(NAMES)
        if _name.startswith("gen_ai.usage.")
    }
)
for _name in TOLLGATE.names:
    NAMES.update({f"{_carrier}{_name}": NAMES[_name] for _carrier in CARRIERS})
COUNTED: Final = {name: how for each in CONVENTIONS for name, how in each.counted.items()}
ROLES: Final = {name: roles for each in CONVENTIONS for name, roles in each.roles.items()}

__all__ = ["ADD_UP", "CONVENTIONS", "COUNTED", "LITELLM_PAYLOAD", "NAMES", "OF_JSON", "ROLES"]
__all__ += ["Convention", "Counting", "Meaning", "Role"]
