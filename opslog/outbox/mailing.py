"""One email, by Django's SMTP backend. Runs in the child process of an attempt."""

import smtplib
from contextlib import suppress
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from opslog.outbox.attempts import OF_A_READ, Outcome, Progress


class _Smtp(smtplib.SMTP):
    progress: Progress

    def send(self, s: Any) -> None:
        super().send(s)
        if isinstance(s, bytes) and s.endswith(b"\r\n.\r\n"):  # the end of the text
            self.progress.note(handed_over=True)


class _SmtpOverTls(_Smtp, smtplib.SMTP_SSL):
    pass


class Backend(EmailBackend):
    @property
    def connection_class(self) -> type[_Smtp]:
        return _SmtpOverTls if self.use_ssl else _Smtp

    def _close_connection(self, connection: _Smtp) -> None:
        with suppress(OSError, smtplib.SMTPException):
            connection.putcmd("quit")  # and no waiting: it is delivered, or will not be
        connection.close()


def send_mail(mail: EmailMessage, progress: Progress) -> Outcome:
    _Smtp.progress = progress
    try:
        Backend(timeout=OF_A_READ).send_messages([mail])
    except (smtplib.SMTPException, OSError) as error:
        return _of_mail(error, progress)
    return Outcome()


def _of_mail(error: Exception, progress: Progress) -> Outcome:
    code = code_of(error)
    reason = f"{type(error).__name__}{f' {code}' if code else ''}."
    if code is not None:
        return Outcome(reason, final=500 <= code < 600, target_down=code == 421)
    if progress.handed_over:
        problem = f"{type(error).__name__} after it was handed over: it has probably arrived."
        return Outcome(problem, unconfirmed=True, target_down=True)
    return Outcome(reason, target_down=True)


def code_of(error: BaseException) -> int | None:
    """The code of an SMTP server; of several recipients, the worst of the temporary ones."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return min((code for code, _ in error.recipients.values()), default=None)
    code = getattr(error, "smtp_code", None)
    return code if isinstance(code, int) and code > 0 else None


def kind_of(error: BaseException) -> str:
    """The class of an error, and a status code of SMTP: its text may hold what is secret."""
    code = code_of(error)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
