"""Django's PostgreSQL backend; a commit that the synchronous standby did not confirm raises.

Pages, jobs and the rest of the API commit through Django; a decision's own commits are judged where
it is called (`opslog.database.authority`).
"""

from typing import Any

from django.db.backends.postgresql import base

from opslog.database.standby import Notices
from opslog.exceptions import Unconfirmed


class DatabaseWrapper(base.DatabaseWrapper):
    """Raises Unconfirmed after a commit, or a statement that committed by itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notices = Notices()
        self.execute_wrappers.append(self._confirmed)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        self.notices = Notices()
        connection.add_notice_handler(self.notices.handler)
        return connection

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]  # which the stubs lack
        self._confirm()

    def _confirmed(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self._confirm()
        return result

    def _confirm(self) -> None:
        if self.notices.unconfirmed():
            raise Unconfirmed("the synchronous standby did not confirm the change")
