"""How pages write money, moments and badges. All output is escaped by the templates."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import PurePath
from typing import Any

from django import template
from django.template.base import FilterExpression, Parser, Token
from django.utils.timesince import timesince, timeuntil

from opslog.events.filters import Key
from opslog.events.registry import level_of
from opslog.models import OperationsEvent
from opslog.pages import figures, subjects
from opslog.pages.charts import per_cent
from opslog.pricing.money import usd_text

register = template.Library()

BADGES = {
    # runs
    "running": "info",
    "success": "good",
    "error": "bad",
    "expired": "warn",
    "cancelled": "calm",
    # work orders
    "draft": "good",
    "suspended": "bad",
    "archived": "calm",
    # requests
    "pending": "warn",
    "applied": "good",
    "refused": "bad",
    "stale": "calm",
    "set_aside": "calm",
    # tokens and agents
    "live": "good",
    "revoked": "bad",
    "known": "calm",
    "unknown": "warn",
    # incidents and mitigations
    "detected": "bad",
    "triaged": "bad",
    "mitigating": "warn",
    "stabilised": "info",
    "reviewed": "good",
    "minor": "calm",
    "major": "warn",
    "critical": "bad",
}
WORDS = {
    "draft": "working",
    "pending": "waiting",
    "set_aside": "set aside",
    "stabilised": "stabilized",
}
REASONS = {
    "concurrency": "concurrent runs",
    "runs_per_day": "runs/day cap",
    "usd_per_day": "budget cap",
    "address_rate": "calls from one address",
    "user_quota": "quota of a user",
    "budget:global:day": "global day budget",
    "unpriced_model": "model without a price",
    "confirm": "large estimate not confirmed",
}


@register.filter
def device(user_agent: str) -> str:
    """ "Chrome 156 on Linux": what a browser says it is, or its own words where nobody knows it."""
    from ua_parser import parse

    found = parse(user_agent)
    if found.user_agent is None:
        return user_agent or "Unknown browser"
    browser = " ".join(filter(None, (found.user_agent.family, found.user_agent.major)))
    return f"{browser} on {found.os.family}" if found.os else browser


@register.filter
def usd(amount: Decimal | None) -> str:
    """The exact amount: "$0.0012345"."""
    return "–" if amount is None else f"${usd_text(Decimal(amount))}"


@register.filter
def money(amount: Decimal | None) -> str:
    """Rounded for the eye: cents, and four decimals below ten cents. The exact one is a title."""
    if amount is None:
        return "–"
    amount = Decimal(amount)
    step = Decimal("0.01") if amount == 0 or abs(amount) >= Decimal("0.1") else Decimal("0.0001")
    return f"${amount.quantize(step, ROUND_HALF_UP):,f}"


@register.filter
def small_money(amount: Decimal | None) -> str:
    """What one request costs: two figures, however small."""
    if amount is None:
        return "–"
    amount = Decimal(amount)
    if amount == 0 or abs(amount) >= Decimal("0.1"):
        return money(amount)
    step = Decimal(1).scaleb(amount.adjusted() - 1)
    return f"${amount.quantize(step, ROUND_HALF_UP):f}"


@register.filter
def signed(amount: Decimal) -> str:
    """A change: "+$1.20", "−$0.35"."""
    return f"{'−' if amount < 0 else '+'}{money(abs(amount))}"


@register.filter
def amount(value: Decimal | None, unit: str) -> str:
    """A number in the unit of its limit: dollars, or a count."""
    if value is None:
        return "–"
    return money(value) if unit == "usd" else f"{int(value):,}"


@register.filter
def cap(value: Decimal | None, unit: str) -> str:
    """A limit as it was set: whole cents, or a count."""
    if value is None:
        return "no limit"
    return f"${value:,.2f}" if unit == "usd" else f"{int(value):,}"


class FigureNode(template.Node):
    """`{% figure rate.minute_usd "money" %}`: a figure, written by a filter of this file, and named
    by its template and its variable: `burn_rate.rate.minute_usd`."""

    def __init__(self, name: str, value: FilterExpression, form: str, arguments: Any) -> None:
        self.name, self.value, self.form, self.arguments = name, value, form, arguments

    def render(self, context: template.Context) -> str:
        value = self.value.resolve(context, ignore_failures=True)
        arguments = [each.resolve(context) for each in self.arguments]
        return figures.figure(self.name, value, FORMS[self.form](value, *arguments))


@register.tag
def figure(parser: Parser, token: Token) -> FigureNode:
    _, value, form, *arguments = token.split_contents()
    form = form.strip('"')
    if form not in FORMS:
        raise template.TemplateSyntaxError(f"A figure is written by one of {', '.join(FORMS)}.")
    page = PurePath(str(parser.origin.template_name)).stem if parser.origin else ""
    return FigureNode(
        f"{page}.{value.partition('|')[0]}",
        parser.compile_filter(value),
        form,
        [parser.compile_filter(each) for each in arguments],
    )


def _written(form: str) -> Callable[[datetime | None], str]:
    return lambda at: "–" if at is None else f"{at.astimezone(UTC):{form}}"


# Moments; those without UTC stand under a heading that says it, `day_clock` in a span of a day.
for _name, _form in {
    "moment": "%Y-%m-%d %H:%M:%S UTC",
    "minute": "%Y-%m-%d %H:%M UTC",
    "stamp": "%Y-%m-%d %H:%M:%S",
    "day_clock": "%m-%d %H:%M:%S",
    "fraction": ".%f",
}.items():
    register.filter(_name, _written(_form))


@register.filter
def ago(at: datetime | None) -> str:
    """The largest unit only: "3 hours ago"."""
    if at is None:
        return "–"
    elapsed = timesince(at, depth=1)
    return "just now" if elapsed.startswith("0") else f"{elapsed} ago"


@register.filter
def until(at: datetime | None) -> str:
    return "–" if at is None else f"in {timeuntil(at, depth=1)}"


@register.filter
def lasted(span: timedelta | None) -> str:
    """ "41.2 s", "3 min 5 s", "2 h 10 min"."""
    if span is None:
        return "–"
    seconds = span.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@register.filter
def in_words(seconds: float) -> str:
    """How long that is, in its two largest units: 45 s, 12 min, 3 h 21 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"


@register.filter
def percent(ratio: float | Decimal | None) -> str:
    return "–" if ratio is None else f"{ratio:.0%}"


@register.filter
def tenths(ratio: Decimal | None) -> str:
    """A share in per cent with one decimal: "7.4 %"."""
    return "–" if ratio is None else f"{ratio * 100:.1f}\u00a0%"


@register.filter
def times(ratio: Decimal | None) -> str:
    """ "3.4×"; "new" of what had nothing before."""
    if ratio is None:
        return "new"
    return "over 99×" if ratio > 99 else f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"


@register.filter
def signed_percent(ratio: Decimal | None) -> str:
    return "–" if ratio is None else f"{ratio:+.0%}"


@register.filter
def whole_percent(ratio: Decimal) -> str:
    """Rounded down: 100 % is shown only where nothing is left."""
    whole = int(ratio * 100)
    return "under 1 %" if ratio and not whole else f"{whole} %"


@register.filter
def share(ratio: Decimal | None) -> str:
    """With a decimal, rounded down: 100 % is shown only for what is full."""
    return "–" if ratio is None else f"{per_cent(ratio)} %"


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


@register.simple_tag(takes_context=True)
def query(context: template.Context, **chosen: str) -> str:
    """The query of this address, with other values of these names."""
    asked = context["request"].GET.copy()
    for name, value in chosen.items():
        asked[name] = value
    return str(asked.urlencode())


FORMS: dict[str, Callable[..., str]] = {
    form.__name__: form
    for form in (
        *(usd, money, small_money, signed, amount, cap, count),
        *(percent, tenths, signed_percent, share, whole_percent),
    )
}


@register.filter
def pretty_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def as_text(value: Any) -> str:
    """A value of before or after: text as it is, all else as JSON."""
    if value is None or value == "":
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def place(event: OperationsEvent) -> str:
    return str(Key.of(event))


@register.filter
def export_name(form: str) -> str:
    return {"csv": "CSV", "jsonl": "JSON Lines"}.get(form, form)


@register.filter
def badge_class(state: str) -> str:
    return f"tg-badge-{BADGES.get(state, 'calm')}"


@register.filter
def badge_word(state: str) -> str:
    return WORDS.get(state, state.replace("_", " "))


@register.filter
def reason_word(reason: str) -> str:
    """Which limit refused, in words; what is not known here is shown as it is."""
    return REASONS.get(reason, reason.replace("_", " "))


@register.filter
def kind_class(kind: str) -> str:
    return f"tg-badge-{level_of(kind)}"


@register.filter
def severity_class(severity: str) -> str:
    level = {"low": "info", "medium": "warn", "warning": "warn"}.get(severity, "bad")
    return f"tg-badge-{level}"


@register.filter
def subject_url(event: Any) -> str:
    """The page of what an event or an alert is about; empty where there is none."""
    return subjects.url_of(event.owner_type, event.owner_id)


@register.simple_tag
def subject_page(subject: str, page: str = "changelist") -> str:
    """The address of a page about all subjects of a type: its list, or the form that adds one."""
    return subjects.page_of(subject, page)


@register.simple_tag(takes_context=True)
def has_permission(context: template.Context, action: str, subject: str) -> bool:
    """Whether the reader has Django's permission to do this to subjects of this type."""
    return bool(context["request"].user.has_perm(subjects.permission(subject, action)))
