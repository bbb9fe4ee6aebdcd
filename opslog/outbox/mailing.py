"""One email to one mail server, by SMTP. Runs in the child process of an attempt."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from opslog.outbox.attempts import OF_A_READ, Outcome, Progress


@dataclass(frozen=True, slots=True)
class MailServer:
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = False
    use_ssl: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    server: MailServer
    sender: str
    to: str
    content: bytes


class _Smtp(smtplib.SMTP):
    progress: Progress
    _host: str

    def send(self, s: Any) -> None:
        super().send(s)
        if isinstance(s, bytes) and s.endswith(b"\r\n.\r\n"):  # the end of the text
            self.progress.note(handed_over=True)


class _SmtpOverTls(_Smtp, smtplib.SMTP_SSL):
    pass


def send_mail(mail: Mail, progress: Progress) -> Outcome:
    try:
        _hand_over(mail, progress)
    except (smtplib.SMTPException, OSError) as error:
        return _of_mail(error, progress)
    return Outcome()


def _hand_over(mail: Mail, progress: Progress) -> None:
    server, context = mail.server, ssl.create_default_context()
    smtp: _Smtp = (
        _SmtpOverTls(timeout=OF_A_READ, context=context)
        if server.use_ssl
        else _Smtp(timeout=OF_A_READ)
    )
    smtp.progress = progress
    with _closed(smtp):
        smtp._host = server.host  # whom TLS is for (smtplib sets it only with a host)
        code, _ = smtp.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, b"")
        if server.use_tls:
            smtp.starttls(context=context)
        if server.username:
            smtp.login(server.username, server.password)
        smtp.sendmail(mail.sender, [mail.to], mail.content)
        with suppress(OSError, smtplib.SMTPException):
            smtp.putcmd("quit")  # and no waiting: it is delivered


@contextmanager
def _closed(smtp: smtplib.SMTP) -> Iterator[None]:
    try:
        yield
    finally:
        smtp.close()


def _of_mail(error: Exception, progress: Progress) -> Outcome:
    code = code_of(error)
    reason = f"{type(error).__name__}{f' {code}' if code else ''}."
    if code is not None:
        return Outcome(reason, final=500 <= code < 600, target_down=code == 421)
    if progress.handed_over:
        said = f"{type(error).__name__} after it was handed over: it has probably arrived."
        return Outcome(said, unconfirmed=True, target_down=True)
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
