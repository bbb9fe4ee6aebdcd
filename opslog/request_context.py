"""The id of the request that is being served, for log lines and events.

Set by the middleware of `config`; empty in jobs and commands, unless they set one.
"""

from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("tollgate_request_id", default="")


def current_request_id() -> str:
    return _request_id.get()


def set_request_id(value: str) -> None:
    _request_id.set(value)
