"""What events and alerts are about: the page of each type of subject. The floors above register
theirs, so that this one names no table of theirs."""

from collections.abc import Mapping

from django.contrib.admin.utils import quote  # noqa: TID251  (it makes addresses of the admin)
from django.urls import NoReverseMatch, reverse

_models: dict[str, tuple[str, str]] = {}


def register(models: Mapping[str, str]) -> None:
    """The model behind each `owner_type`, as `app_label.model` in lower case."""
    for subject, label in models.items():
        app, _, model = label.partition(".")
        _models[subject] = (app, model)


def page_of(subject: str, page: str = "changelist", *args: str) -> str:
    """A page of the admin; empty where there is none, or nobody registered this type."""
    if subject not in _models:
        return ""
    try:
        return reverse(f"admin:{'_'.join(_models[subject])}_{page}", args=args)
    except NoReverseMatch:
        return ""


def url_of(subject: str, subject_id: str) -> str:
    """The page of one subject, empty as above."""
    return page_of(subject, "change", quote(subject_id)) if subject_id else ""


def permission(subject: str, action: str) -> str:
    """Django's permission to do this to subjects of this type: `app.action_model`."""
    app, model = _models[subject]
    return f"{app}.{action}_{model}"
