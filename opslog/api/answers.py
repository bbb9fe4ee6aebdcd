"""Answers: one struct each, which renders the answer and describes it in the schema."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

import msgspec
from django.db.models.enums import Choices
from msgspec import UNSET, Meta, UnsetType
from rest_framework.renderers import JSONRenderer

from opslog.pricing.money import usd, usd_text

Moment = Annotated[datetime, Meta(tz=True)]


class Usd(str):
    """US dollars as answers have them, `opslog.pricing.money.usd_text`."""

    __slots__ = ()


class Answer(msgspec.Struct, rename="camel"):
    """Fields are named after the attributes that `of` reads, in the order of the answer."""

    @classmethod
    def of(cls, source: object, **computed: Any) -> Self:
        """From the attributes of `source`, and values that it has no attribute for. Amounts are
        given as Decimal. Raises msgspec.ValidationError for what the schema does not allow."""
        attributes = Overlay(source, computed) if computed else source
        return msgspec.convert(attributes, cls, from_attributes=True, dec_hook=_dollars)


class Overlay:
    def __init__(self, source: object, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class Error(Answer, forbid_unknown_fields=True):
    error: str


class BadInput(Error, forbid_unknown_fields=True):
    fields: dict[str, list[str]] | UnsetType = UNSET


class AnswerRenderer(JSONRenderer):
    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        plain = None if data is None else msgspec.to_builtins(data, enc_hook=str)
        rendered: bytes = super().render(plain, *args, **kwargs)
        return rendered


def _dollars(kind: type[Any], amount: Decimal) -> Any:
    if kind is not Usd:
        raise NotImplementedError
    return Usd(usd_text(usd(amount)))


def described(kind: type[Any]) -> dict[str, Any]:
    """The JSON schema of a type that msgspec does not know."""
    if issubclass(kind, Choices):
        return {"type": "string", "enum": kind.values}
    if kind is Usd:
        return {"type": "string", "pattern": r"^-?\d+\.\d{2,9}$", "examples": ["0.05"]}
    raise NotImplementedError
