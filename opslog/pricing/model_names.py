"""What the names mean that programs send for models: spellings, prefixes, rules. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

from opslog.identities import canonical

Key: TypeAlias = tuple[str, str]  # provider, model; both in lower case

# How programs, gateways and instrumentations spell a provider: in front of a name ("xai/grok-4") or
# by itself ("aws.bedrock"). Blanks and underscores are hyphens by then, and `API` is off the end.
PROVIDER_SPELLINGS: Final[Mapping[str, str]] = {
    "amazon": "aws",
    "amazon-bedrock": "aws",
    "anthropic-text": "anthropic",
    "aws-bedrock": "aws",
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure-ai": "azure",
    "azure-openai": "azure",
    "azure-text": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "bedrock": "aws",
    "bedrock-converse": "aws",
    "bedrock.anthropic": "aws",
    "codestral": "mistral",
    "cohere-chat": "cohere",
    "fireworks-ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen-ai": "google",
    "gcp.vertex-ai": "google",
    "gemini": "google",
    "google-genai": "google",
    "google-generative-ai": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "google-vertex-anthropic": "google",
    "google.vertex": "google",
    "googlevertex.anthropic": "google",
    "kimi": "moonshotai",
    "meta-llama": "meta",
    "mistral-ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "text-completion-openai": "openai",
    "together-ai": "together",
    "togetherai": "together",
    "vertex": "google",
    "vertex-ai": "google",
    "vertex-ai-beta": "google",
    "vertex.anthropic": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "x.ai": "x-ai",
    "xai": "x-ai",
    "z-ai": "zai",
    "z.ai": "zai",
}
# Which API of a provider was called, as the AI SDK puts it behind the provider's name.
API: Final = re.compile(
    r"\.(chat|completions?|embeddings?|generative-ai|image|messages|responses|speech|text-embedding|"
    r"transcription)$"
)
# Who sells the models of others under their names, at their prices where it has none of its own.
SELLS_MODELS_OF: Final[Mapping[str, Sequence[str]]] = {
    "azure": ("openai", "anthropic", "deepseek", "x-ai", "moonshotai"),
    "google": ("anthropic",),
}
# Whose exact names need no further rule. Not the others: an open model of the same name is sold
# by many hosts at many prices, and a guess would be wrong for most.
EXACT_NAMES_OF: Final = ("openai", "cohere")

OPEN_WEIGHTS: Final = re.compile(
    r"\b(deepseek|gemma|glm|gpt-oss|kimi|llama|minimax|mixtral|nemotron|phi|qwen)"
)

# OpenAI's own fine-tuned models: "ft:gpt-4o-mini-2024-07-18:acme::id".
FINE_TUNED: Final = "ft:"

# Where a name says by itself who runs the model: an inference profile or a model of Bedrock by its
# ARN, a name of Bedrock's own ("eu.anthropic.claude-…-v1:0"), and the resource names of Google.
# Profiles and endpoints that somebody made have names of their own, which mean no model.
_ARN: Final = re.compile(
    r"^(?:[a-z_-]+/)*arn:aws[a-z-]*:bedrock:[^:/]*:[0-9]*:(?:inference-profile|foundation-model)/(.+)$"
)
_OPAQUE: Final = re.compile(
    r"^(?:[a-z_-]+/)*arn:|^projects/.*/endpoints/|^(?:publishers/[^/]+/)?tunedmodels/"
)
_BEDROCK: Final = re.compile(
    r"^(?:(?:us|us-gov|eu|apac|jp|au|ca|global)\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|"
    r"mistral|moonshot|openai|qwen|writer)\.[a-z0-9.-]+(?::[0-9a-z]+)*$"
)
_PUBLISHED: Final = re.compile(r"^(?:[a-z_-]+/)?(?:projects/.*/)?publishers/[^/]+/models/(.+)$")
_RESOURCE: Final = re.compile(r"^models/(.+)$")
_BEDROCK_REGION: Final = re.compile(
    r"^((?:aws|bedrock|bedrock_converse)/)(?:converse/)?(?:[a-z]{2}(?:-[a-z]+)+-[0-9]/)?(?=.)"
)
# At other terms than the model's own: free, faster, cheaper, with a search, later. Such a name has
# a price where a list has exactly it.
OTHER_TERMS: Final = re.compile(r":(free|batch|extended|nitro|floor|online|exacto)$")

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


def provider_of(spelling: str) -> str:
    """The provider's id in genai-prices, or the spelling where it is none that is known."""
    spelled = re.sub(r"[\s_]+", "-", spelling.strip().lower())
    while spelled not in PROVIDER_SPELLINGS and (shorter := API.sub("", spelled)) != spelled:
        spelled = shorter
    return PROVIDER_SPELLINGS.get(spelled, spelled)


def key_of(provider: str, model: str) -> Key:
    return provider_of(provider), model.strip().lower()


def readings_of(name: str) -> list[Key]:
    """The readings of a name as provider and model: "openai/gpt-4o", "openai:gpt-4o"."""
    readings = []
    for separator in "/:":
        provider, found, model = name.partition(separator)
        if found and provider and model:
            readings.append(key_of(provider, model))
    return readings


def unwrapped(name: str) -> tuple[str, str]:
    """The provider that a resource name belongs to ("" where it does not say), and the model as
    that provider lists it. A name that means no model has none ("")."""
    if found := _ARN.match(name):
        return "aws", found[1].rpartition("/")[2]
    if _OPAQUE.match(name):
        return "", ""
    if found := _PUBLISHED.match(name):
        return "google", found[1]
    if found := _RESOURCE.match(name):
        return "", found[1]
    if _BEDROCK.match(name):
        return "aws", name
    return "", _BEDROCK_REGION.sub(r"\1", name)


def names_asked(name: str, provider: str) -> list[str]:
    """What to look for, most exact first. Where the provider was given by itself: its own model,
    then the name alone (a gateway that nobody knows, or a program that calls every provider
    "openai"). None for a resource that somebody made, like an endpoint."""
    host, model = unwrapped(name)
    given = provider_of(provider)
    if not model:
        return []
    asked = [f"{of}/{model}" for of in dict.fromkeys((given, host)) if of]
    if any(given == of for of, _ in readings_of(model)):
        asked = []  # it says so itself
    return [*asked, model]


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
