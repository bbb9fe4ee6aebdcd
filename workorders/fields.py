"""A column of PostgreSQL's own type `cidr`: a network, checked by the database."""

import ipaddress
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


class NetworkField(models.Field):  # type: ignore[type-arg]  # generic only in the stubs
    """A network in CIDR notation, as text in Python: "10.0.0.0/8", "2001:db8::/32"."""

    description = "Network"

    def db_type(self, connection: Any) -> str:
        return "cidr"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str | None:
        return None if value is None else str(value)

    def to_python(self, value: Any) -> str | None:
        if value is None or value == "":
            return None
        try:
            return str(ipaddress.ip_network(str(value).strip()))
        except ValueError as error:
            raise ValidationError(f"{value} is not a network in CIDR notation.") from error

    def get_prep_value(self, value: Any) -> str | None:
        return self.to_python(value)

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        from django import forms

        return forms.CharField(**{k: v for k, v in kwargs.items() if k in ("required", "label")})
