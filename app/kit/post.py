"""The port through which mail leaves: a mail server, or a folder that keeps each mail as a file."""

import os
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formataddr, formatdate, parseaddr
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import unquote, urlsplit
from uuid import UUID

TIMEOUT_SECONDS = 20.0
PORTS = {"smtp": 587, "smtps": 465}
_PERMANENT = 500
_SAID = 200


class NotSent(Exception):
    """A mail did not leave. The text names neither people nor secrets; `is_final` when it never will."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Port(Protocol):
    """Takes mail away."""

    def send(self, message: EmailMessage, sender: str, address: str) -> None:
        """Sends a mail to one address. Raises NotSent."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """How a mail server is reached. Its certificate is verified whenever there is one.

    `tls_required` refuses to say anything, credentials above all, to a server that offers no STARTTLS.
    """

    host: str
    port: int
    is_tls: bool
    tls_required: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, *, tls_required: bool) -> Self:
        """A server from `smtp[s]://user:password@host:port`. Raises ValueError, which does not repeat the URL."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            msg = "it looks like smtp://user:password@host:587, or smtps://…:465"
            raise ValueError(msg)
        user, password = (None if one is None else unquote(one) for one in (parts.username, parts.password))
        is_tls = parts.scheme == "smtps"
        return cls(parts.hostname, parts.port or PORTS[parts.scheme], is_tls, tls_required, user, password)


class Smtp:
    """Sends by a mail server, with a connection for each mail."""

    def __init__(
        self, server: SmtpServer, trusted: ssl.SSLContext | None = None, patience: float = TIMEOUT_SECONDS
    ) -> None:
        self._server = server
        self._trusted = trusted or ssl.create_default_context()
        self._patience = patience

    def greet(self) -> None:
        """Does all that comes before a mail, signing in too, and sends none. Raises NotSent."""
        try:
            with self._connect() as connection:
                connection.noop()
        except smtplib.SMTPResponseException as error:
            raise NotSent(_answer(error.smtp_code, error.smtp_error)) from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent(f"{type(error).__name__}: {error}"[:_SAID]) from None

    def send(self, message: EmailMessage, sender: str, address: str) -> None:
        """Sends a mail to one address. Raises NotSent."""
        try:
            with self._connect() as connection:
                connection.send_message(message, sender, [address])
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise NotSent(_answer(code, said), is_final=code >= _PERMANENT) from None
        except smtplib.SMTPResponseException as error:
            raise NotSent(_answer(error.smtp_code, error.smtp_error)) from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent(f"{type(error).__name__}: {error}"[:_SAID]) from None

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.is_tls:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=self._patience, context=self._trusted
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=self._patience)
        try:
            self._open(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, connection: smtplib.SMTP) -> None:
        connection.ehlo()
        if not self._server.is_tls and (self._server.tls_required or connection.has_extn("starttls")):
            connection.starttls(context=self._trusted)
            connection.ehlo()
        if self._server.user is not None:
            connection.login(self._server.user, self._server.password or "")


class Folder:
    """Keeps each mail as a file: for development, where `postrider mail` shows it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, message: EmailMessage, sender: str, address: str) -> None:  # noqa: ARG002 both stand in the mail
        """Writes the mail, whole or not at all. Raises NotSent."""
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        unfinished = self.path / f".{name}"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(message.as_bytes())
            unfinished.replace(self.path / f"{name}.eml")
        except OSError as error:
            raise NotSent(f"the folder takes no mail: {error.strerror}") from None


def compose(mail_id: UUID, sender: str, address: str, subject: str, body: str) -> EmailMessage:
    """A mail of plain text. Its id is the row's, so that a mail that was sent twice is known as one."""
    name, own = parseaddr(sender)
    message = EmailMessage(SMTP if address.isascii() else SMTPUTF8)
    message["From"] = formataddr((name, own))
    message["To"] = address
    message["Subject"] = subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = f"<{mail_id.hex}@{own.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body)
    return message


def envelope_sender(sender: str) -> str:
    """The address alone of `Name <address>`."""
    return parseaddr(sender)[1]


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"the mail server said {code}: {' '.join(text.split())}"[:_SAID]
