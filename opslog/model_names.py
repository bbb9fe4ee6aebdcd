"""What the names mean that programs send for models: spellings, prefixes, rules. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

from opslog.identities import canonical

Key: TypeAlias = tuple[str, str]  # provider, model; both in lower case

# How programs and gateways spell a provider: in front of a name ("xai/grok-4"), or by itself as
# OpenTelemetry's conventions have it ("aws.bedrock").
PROVIDER_SPELLINGS: Final[Mapping[str, str]] = {
    "amazon": "aws",
    "anthropic_text": "anthropic",
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "kimi": "moonshotai",
    "meta_llama": "meta",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "togetherai": "together",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
# Who sells the models of others under their names, at their prices where it has none of its own.
SELLS_MODELS_OF: Final[Mapping[str, Sequence[str]]] = {
    "azure": ("openai", "anthropic", "deepseek", "x-ai", "moonshotai"),
    "google": ("anthropic",),
}
# Whose exact names need no further rule. Not the others: an open model of the same name is sold
# by many hosts at many prices, and a guess would be wrong for most.
EXACT_NAMES_OF: Final = ("openai", "cohere")

# OpenAI's own fine-tuned models: "ft:gpt-4o-mini-2024-07-18:acme::id".
FINE_TUNED: Final = "ft:"

_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


# What a name may carry besides the model: where it runs, who made it, which version of a listing,
# at which terms, and which snapshot. `tollgate.model_name` has the same, for rows written by SQL.
_HOST: Final = re.compile(r"^.*/")
_REGION: Final = re.compile(r"^(us|us-gov|eu|apac|jp|au|ca|global|regional)\.(?=[a-z0-9-]+\.)")
_MAKER: Final = re.compile(
    r"^(ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshot|moonshotai|"
    r"nvidia|openai|qwen|stability|twelvelabs|writer|zai)\."
)
_PROVIDER: Final = re.compile(
    r"^(anthropic|aws|azure|bedrock|cohere|deepseek|gemini|google|groq|mistral|openai|openrouter|"
    r"together|vertex_ai|x-ai|xai):"
)
_LISTING: Final = re.compile(r"-v[0-9]+:[0-9]+(:[a-z0-9]+)?$")
_TERMS: Final = re.compile(
    r"(:([0-9]+|free|batch|extended|thinking|nitro|floor|online|exacto|beta)|@[a-z0-9.-]+)$"
)
_SNAPSHOT: Final = re.compile(
    r"-(20[0-9]{2}-[01][0-9]-[0-3][0-9]|20[0-9]{2}[01][0-9][0-3][0-9]|"
    r"(0[1-9]|1[0-2])([0-2][0-9]|3[01])|2[3-9](0[1-9]|1[0-2])|latest)$"
)


def bare(name: str) -> str:
    """The model alone, as its name says it: `gpt-4o` for `azure/GPT-4o-2024-08-06`. A snapshot is
    its model: a limit on the one is a limit on the other. "" where nothing is left."""
    name = canonical(name)
    tuned = FINE_TUNED if name.startswith(FINE_TUNED) else ""
    name = name.removeprefix(tuned)
    for part in (_HOST, _PROVIDER, _REGION, _MAKER, _LISTING, _TERMS, _SNAPSHOT):
        shorter = part.sub("", name)
        name = shorter or name
    return tuned + name


def key_of(provider: str, model: str) -> Key:
    spelled = provider.strip().lower()
    return PROVIDER_SPELLINGS.get(spelled, spelled), model.strip().lower()


def readings_of(name: str) -> list[Key]:
    """The readings of a name as provider and model: "openai/gpt-4o", "openai:gpt-4o"."""
    readings = []
    for separator in "/:":
        provider, found, model = name.partition(separator)
        if found and provider and model:
            readings.append(key_of(provider, model))
    return readings


def names_asked(name: str, provider: str) -> list[str]:
    """What to look for where the provider was told by itself: its own model, then the name alone
    (a gateway that nobody knows, or a program that calls every provider "openai")."""
    told, _ = key_of(provider, "")
    if not told or any(told == of for of, _ in readings_of(name)):
        return [name]
    return [f"{told}/{name}", name]


def with_dashed_date(name: str) -> str:
    """Gateways write "gpt-5.2-20251211" for "gpt-5.2-2025-12-11"."""

    def dashed(found: re.Match[str]) -> str:
        year, month, day = (int(part) for part in found.groups())
        try:
            return f"-{date(year, month, day).isoformat()}"
        except ValueError:
            return found.group(0)

    return _COMPACT_DATE.sub(dashed, name)


def matches(rule: Mapping[str, Any], name: str) -> bool:
    """Does `name` (lower case) fit the rule? Raises ValueError for a rule that is none."""
    if len(rule) != 1:
        raise ValueError(f"match: one condition is expected, not {sorted(rule)}")
    ((condition, operand),) = rule.items()
    match condition, operand:
        case "equals", str():
            return name == operand.lower()
        case "starts_with", str():
            return name.startswith(operand.lower())
        case "ends_with", str():
            return name.endswith(operand.lower())
        case "contains", str():
            return operand.lower() in name
        case "regex", str():
            return re.search(operand, name) is not None
        case "or", list():
            return any(matches(each, name) for each in operand)
        case "and", list():
            return all(matches(each, name) for each in operand)
    raise ValueError(f"match: unknown condition {condition!r}")


def check_match(rule: object) -> None:
    """Raises ValueError unless the whole rule is well formed (`matches` stops at the first fit)."""
    if not isinstance(rule, dict) or len(rule) != 1:
        raise ValueError("match: an object with one condition is expected")
    ((condition, operand),) = rule.items()
    if condition in ("or", "and"):
        if not isinstance(operand, list) or not operand:
            raise ValueError(f"match: {condition!r} needs a list of conditions")
        for each in operand:
            check_match(each)
        return
    if condition == "regex" and isinstance(operand, str):
        try:
            re.compile(operand)
        except re.error as error:
            raise ValueError(f"match: {operand!r} is no regular expression: {error}") from error
    if operand == "":
        raise ValueError(f"match: an empty {condition!r} would fit every name")
    matches(rule, "")
