"""What one span says, by the table of conventions. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from opslog.telemetry.conventions import NAMES, OF_JSON, ROLES, Meaning, Role

NUMBERS: Final = frozenset(
    {
        *(Meaning.INPUT, Meaning.OUTPUT, Meaning.TOTAL, Meaning.FRESH_INPUT, Meaning.TEXT_OUTPUT),
        *(Meaning.CACHED, Meaning.WRITTEN, Meaning.WRITTEN_5M, Meaning.WRITTEN_1H),
        *(Meaning.REASONING, Meaning.AUDIO_INPUT, Meaning.CACHED_AUDIO, Meaning.AUDIO_OUTPUT),
        *(Meaning.IMAGE_INPUT, Meaning.IMAGE_OUTPUT, Meaning.WEB_SEARCHES, Meaning.RETRIES),
    }
)
# Without which nothing was used.
USED: Final = (
    *(Meaning.INPUT, Meaning.OUTPUT, Meaning.TOTAL, Meaning.CACHED, Meaning.WRITTEN),
    *(Meaning.WRITTEN_5M, Meaning.WRITTEN_1H, Meaning.REASONING, Meaning.WEB_SEARCHES),
)
MOST_JSON: Final = 65_536  # characters
MOST_DEPTH: Final = 4
COST: Final = "tollgate.cost_usd"
# Counts tokens, makes a prompt, or opens a session: nobody is paid for it.
UNPAID: Final = re.compile(r"count_?tokens|prompt[_ .-]?template", re.IGNORECASE)
SESSION: Final = re.compile(r"\bsession\b", re.IGNORECASE)
KINDS: Final = tuple(ROLES)
PLACES: Final = ("gen_ai.operation.name", "url.path", "http.route", "operation.name")
# Looks like usage or a cost, and is in no convention.
USAGE_LIKE: Final = re.compile(
    r"(tokens?|token_?(count|usage)s?)$|(^|[._])(total_?|input_?|output_?)?cost(_?usd)?$",
    re.IGNORECASE,
)
COST_LIKE: Final = re.compile(r"cost(_?usd)?$", re.IGNORECASE)
# What a provider reports in its own words; what matters of it has a name in the table.
REPEATED: Final = ("ai.response.providerMetadata.", "hidden_params.", "metadata.", "llm.invocation")
NO_USAGE: Final = re.compile(
    r"max|limit|budget|remaining|rate|ratio|per_|avg|percent|auth|access|refresh|session|csrf"
    r"|text_?tokens|text\.|image\.cache_read|prediction|established|missed|saved|total|thinking\.|count_tokens"
    r"|dimension|guardrail|id_token|modality",
    re.IGNORECASE,
)
# …and only in spans that have to do with models: other programs have tokens and costs, too.
OF_MODELS: Final = re.compile(
    r"llm|gen_?ai|openai|anthropic|claude|gemini|gpt|mistral|bedrock|prompt|completion|chat"
    r"|model|\bai\b",
    re.IGNORECASE,
)
MOST_UNREAD: Final = 40


@dataclass(slots=True)
class Facts:
    """`names`: the attribute that each was read from. `unread`: attributes that look like usage
    or a cost, and that no convention has."""

    values: dict[Meaning, Any] = field(default_factory=dict)
    names: dict[Meaning, str] = field(default_factory=dict)
    cost_parts: list[Any] = field(default_factory=list)
    role: Role | None = None
    operation: str = ""
    unread: list[str] = field(default_factory=list)

    @property
    def used(self) -> bool:
        """Whether it says that something was used, or cost something."""
        counts = [self.values.get(meaning) for meaning in (*USED, Meaning.COST)]
        return any(map(_positive, (*counts, *self.cost_parts)))

    def text(self, meaning: Meaning) -> str | None:
        value = self.values.get(meaning)
        return None if value is None else str(value)

    def numbers(self) -> dict[Meaning, int]:
        """Raises ValueError, naming the attribute, for what is no whole number."""
        return {
            meaning: whole(value, self.names[meaning])
            for meaning, value in self.values.items()
            if meaning in NUMBERS
        }

    def costs(self, *, free: bool) -> tuple[Decimal | None, Decimal | None]:
        """The cost that counts and the one that the sender worked out; `free`: no tokens, so that
        a zero is one. Otherwise it says that the sender had no price.

        Raises ValueError.
        """
        if self.values.get(Meaning.CACHE_HIT) in (True, "true", "True"):
            return Decimal(0), Decimal(0)
        total = self.values.get(Meaning.COST)
        if total is not None:
            cost = _dollars(total)
        elif self.cost_parts:
            cost = sum((_dollars(part) for part in self.cost_parts), Decimal(0))
        else:
            return None, None
        if self.names.get(Meaning.COST, "").endswith(COST):
            return cost, None
        return None, None if cost == 0 and not free else cost


def read(name: str, attributes: Mapping[str, Any], scope: str = "") -> Facts:
    """What a span of that name and instrumentation says of itself."""
    facts = Facts()
    best: dict[Meaning, int] = {}
    roles: list[Role] = []
    for attribute, value in _with_members(attributes):
        known = NAMES.get(attribute)
        if known is not None:
            place, meaning = known
            if meaning is Meaning.COST_PART:
                facts.cost_parts.append(value)
            elif place < best.get(meaning, 1_000_000):
                best[meaning] = place
                facts.values[meaning], facts.names[meaning] = value, attribute
        elif (of_role := ROLES.get(attribute)) is not None:
            roles.append(of_role.get(str(value), Role.OTHER))
        elif _is_usage_like(attribute, value):
            facts.unread.append(attribute)
    if Meaning.COST in facts.values:  # the others are its parts
        facts.unread = [name for name in facts.unread if not COST_LIKE.search(name)]
    del facts.unread[MOST_UNREAD:]
    if facts.unread and not OF_MODELS.search(" ".join((scope, name, *attributes))):
        facts.unread.clear()
    facts.role = _role(name, attributes, facts, roles)
    facts.operation = " ".join(str(attributes.get(kind, "")) for kind in KINDS)
    return facts


def _role(
    name: str, attributes: Mapping[str, Any], facts: Facts, roles: Iterable[Role]
) -> Role | None:
    places = [name, *(str(attributes.get(place, "")) for place in PLACES)]
    if Role.UNPAID in roles or any(UNPAID.search(place) for place in places):
        return Role.UNPAID
    # A span that one convention calls a tool is one, whatever else it is called.
    for role in (Role.TOOL, Role.CALL, Role.OTHER):
        if role in roles:
            return role
    if Meaning.TOOL in facts.values and not facts.used:
        return Role.TOOL
    if not facts.used and any(SESSION.search(place) for place in places):
        return Role.OTHER
    return None


def _with_members(attributes: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """All attributes with something in them; texts of JSON by their members."""
    for attribute, value in attributes.items():
        if value in (None, ""):
            continue
        if attribute in OF_JSON and isinstance(value, str):
            yield from _members(attribute, value)
        else:
            yield attribute, value


def _members(attribute: str, text: str) -> Iterable[tuple[str, Any]]:
    if len(text) > MOST_JSON:
        return
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return
    waiting = [(attribute, parsed, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, dict) and depth < MOST_DEPTH:
            waiting += [(f"{name}.{key}", each, depth + 1) for key, each in value.items()]
        elif isinstance(value, str | int | float) and value != "":
            yield name, value


def _is_usage_like(attribute: str, value: Any) -> bool:
    if (
        attribute.startswith(REPEATED)
        or not USAGE_LIKE.search(attribute)
        or NO_USAGE.search(attribute)
    ):
        return False
    return type(value) in (int, float) and value > 0


def _positive(value: Any) -> bool:
    """Also what is no number at all: it is refused later, by its name."""
    try:
        return value is not None and Decimal(str(value)) > 0
    except InvalidOperation:
        return True


def _dollars(amount: Any) -> Decimal:
    try:
        return Decimal(str(amount))
    except InvalidOperation:
        raise ValueError("cost: expected US dollars") from None


def whole(value: Any, name: str) -> int:
    """A whole number, also where it was sent as a text or with a point. Raises ValueError."""
    try:
        number = Decimal(str(value))
        # In this order: the whole of 1e999999999 would not fit into memory.
        if number.is_finite() and 0 <= number <= 10**15 and number == int(number):
            return int(number)
    except (InvalidOperation, OverflowError):
        pass
    raise ValueError(f"{name}: expected a whole number that is not negative")
