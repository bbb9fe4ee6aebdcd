"""What the attributes of spans can mean, and what spans can be. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, auto


class Meaning(Enum):
    """Numbers of tokens, dollars, texts."""

    INPUT = auto()
    OUTPUT = auto()
    TOTAL = auto()
    # Neither cached nor written; neither reasoning, audio nor image. They show how a whole counts.
    FRESH_INPUT = auto()
    TEXT_OUTPUT = auto()
    CACHED = auto()
    WRITTEN = auto()  # whatever the lifetime
    WRITTEN_5M = auto()
    WRITTEN_1H = auto()
    REASONING = auto()
    AUDIO_INPUT = auto()
    CACHED_AUDIO = auto()
    AUDIO_OUTPUT = auto()
    IMAGE_INPUT = auto()
    IMAGE_OUTPUT = auto()
    WEB_SEARCHES = auto()
    COST = auto()
    COST_PART = auto()  # added up where there is no COST
    CACHE_HIT = auto()  # answered from the sender's own cache: nobody was paid
    MODEL = auto()
    PROVIDER = auto()
    RESPONSE_ID = auto()
    TIER = auto()
    USER = auto()
    SESSION = auto()
    AGENT = auto()
    SURFACE = auto()
    FEATURE = auto()
    TRIGGER = auto()
    WORK_ORDER = auto()
    RUN = auto()
    USER_AGENT = auto()
    TOOL = auto()
    RETRIES = auto()


class Counting(Enum):
    """Whether a part (cached, written or reasoning tokens) is in its whole.

    BY_PROVIDER: the instrumentation passes on what the provider counts. Anthropic and Bedrock count
    cached and written tokens beside the input, Google counts thoughts beside the output.
    """

    WITHIN = auto()
    BESIDE = auto()
    BY_PROVIDER = auto()


class Role(Enum):
    """What a span says that it is. OTHER: something around calls, or nothing that is paid for."""

    CALL = auto()
    TOOL = auto()
    OTHER = auto()
    UNPAID = auto()


@dataclass(frozen=True, slots=True)
class Convention:
    """`names`: attributes and their meanings. `counted`: parts that are not simply in their whole.
    `roles`: attributes whose values say what a span is."""

    title: str
    version: str
    seen: date
    names: Mapping[str, Meaning] = field(default_factory=dict)
    counted: Mapping[str, Counting] = field(default_factory=dict)
    roles: Mapping[str, Mapping[str, Role]] = field(default_factory=dict)
