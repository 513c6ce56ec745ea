"""Mail: queued by the API's role, sent by the worker's, with its text gone afterwards."""

import email
import ssl
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as Talk
from jinja2 import UndefinedError
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.ports import any_free
from app.features.mail import operations
from app.features.mail.letters import Letter
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.post import Folder, NotSent, Smtp, SmtpServer
from app.kit.wakes import Wake, asked
from app.models import Mail
from tests.metrics import counting
from worker.mail import Outgoing, Postman, send_one
from worker.stopping import Stopping

URL = "https://hooks.example.test/postrider"
VALUES = {"organisation": "Acme", "inviter": "ada@example.test", "role": "admin", "token": "t0ken"}
LETTER = Letter("invitation", "bob@example.test", VALUES)
SENDER = "Postrider <hooks@example.test>"
PASSWORD = "s3cret:of@all"


class Server:
    """A mail server that remembers what it took, and refuses one address for ever."""

    def __init__(self, authority: trustme.CA, *, offers_tls: bool = True) -> None:
        self.taken: list[Envelope] = []
        self.port = any_free()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._tls = {"tls_context": context, "require_starttls": True} if offers_tls else {"auth_require_tls": False}
        self._controller = Controller(
            self, "localhost", self.port, authenticator=_known, auth_required=offers_tls, decode_data=False, **self._tls
        )

    def start(self) -> int:
        self._controller.start()
        return self.port

    def stop(self) -> None:
        self._controller.stop()

    async def handle_RCPT(  # noqa: N802 aiosmtpd looks for this name
        self,
        server: SMTP,  # noqa: ARG002 aiosmtpd passes it
        talk: Talk,  # noqa: ARG002 as above
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002 as above
    ) -> str:
        if address == "gone@example.test":
            return "550 5.1.1 nobody here has that name"
        if address == "later@example.test":
            return "450 4.2.1 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 as above
        self,
        server: SMTP,  # noqa: ARG002 as above
        talk: Talk,  # noqa: ARG002 as above
        envelope: Envelope,
    ) -> str:
        self.taken.append(envelope)
        return "250 OK"


def _known(server: SMTP, talk: Talk, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"post", PASSWORD.encode())
    return AuthResult(success=known, handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[tuple[Server, int]]:
    started = Server(authority)
    yield started, started.start()
    started.stop()


@pytest.fixture(autouse=True)
def _nothing_waits(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        db.execute(delete(Mail))


@pytest.fixture
def outgoing(ring: KeyRing, tmp_path: Path) -> Outgoing:
    return Outgoing(ring, Folder(tmp_path / "mail"), SENDER, URL)


async def queued(api: async_sessionmaker[AsyncSession], ring: KeyRing, letter: Letter = LETTER) -> UUID:
    """A mail that the API's role queued for somebody."""
    owner = uuid4()
    async with api.begin() as db:
        await db.run_sync(enter_tenants, [owner])
        await db.run_sync(operations.queue, ring, owner, letter)
        assert Wake.mail in asked(db.sync_session)
    return owner


def row(sessions: sessionmaker[Session]) -> Mail:
    with sessions() as db:
        return db.scalars(select(Mail)).one()


def age(sessions: sessionmaker[Session], by: timedelta) -> None:
    with sessions.begin() as db:
        db.execute(update(Mail).values(due_at=func.now(), created_at=Mail.created_at - by))


def kept(outgoing: Outgoing) -> list[EmailMessage]:
    assert isinstance(outgoing.port, Folder)
    files = sorted(outgoing.port.path.glob("*.eml"))
    return [email.message_from_bytes(one.read_bytes(), policy=default) for one in files]


def send(sessions: sessionmaker[Session], outgoing: Outgoing) -> bool:
    assert outgoing.port is not None
    return send_one(sessions, outgoing, outgoing.port)


async def test_a_queued_mail_lies_encrypted_leaves_once_and_its_text_is_gone(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    outgoing: Outgoing,
) -> None:
    await queued(api_sessions, ring)
    waiting = row(sessions)
    assert waiting.sealed is not None
    assert b"t0ken" not in waiting.sealed
    assert b"bob" not in waiting.sealed
    assert send(sessions, outgoing)
    assert not send(sessions, outgoing)
    (mail,) = kept(outgoing)
    assert (mail["to"], mail["from"], mail["subject"]) == ("bob@example.test", SENDER, "You are invited to Acme")
    assert f"{URL}/invitation?token=t0ken" in mail.get_content()
    left = row(sessions)
    assert (left.sealed, left.due_at, left.attempts, left.last_failure) == (None, None, 1, None)
    assert left.sent_at is not None


async def test_the_api_sees_and_queues_mail_of_those_alone_whom_it_names(
    api_sessions: async_sessionmaker[AsyncSession], ring: KeyRing
) -> None:
    owner = await queued(api_sessions, ring)
    async with api_sessions() as db:
        await db.run_sync(enter_tenants, [uuid4()])
        assert (await db.scalars(select(Mail))).all() == []
        with pytest.raises(ProgrammingError, match="row-level security"):
            await db.run_sync(operations.queue, ring, owner, LETTER)


@pytest.mark.parametrize(
    "evil", ["Acme\r\nBcc: all@example.test", "Acme\nBcc: all@example.test", "Acme\u2028Bcc: all@example.test"]
)
async def test_no_value_becomes_a_header_or_a_line_of_its_own(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    outgoing: Outgoing,
    evil: str,
) -> None:
    await queued(api_sessions, ring, Letter("invitation", "bob@example.test", {**VALUES, "organisation": evil}))
    send(sessions, outgoing)
    (mail,) = kept(outgoing)
    assert mail["bcc"] is None
    assert "Bcc: all@example.test" in mail["subject"]
    assert not any(line.startswith("Bcc") for line in mail.get_content().splitlines())


@pytest.mark.parametrize(
    "address", ["bob@example.test\r\nBcc: all@example.test", "bob", "a@b, c@d", "<a@example.test>"]
)
async def test_what_is_no_address_is_refused_when_it_is_queued(
    api_sessions: async_sessionmaker[AsyncSession], ring: KeyRing, address: str
) -> None:
    with pytest.raises(ValueError, match="mail address"):
        await queued(api_sessions, ring, Letter("invitation", address, VALUES))


async def test_a_missing_value_is_noticed_when_the_mail_is_queued(
    api_sessions: async_sessionmaker[AsyncSession], ring: KeyRing
) -> None:
    with pytest.raises(UndefinedError):
        await queued(api_sessions, ring, Letter("invitation", "bob@example.test", {"organisation": "Acme"}))


async def test_a_server_gets_mail_over_verified_tls_with_credentials(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    server: tuple[Server, int],
    authority: trustme.CA,
) -> None:
    started, port = server
    await queued(api_sessions, ring)
    assert send(sessions, Outgoing(ring, _smtp(port, authority), SENDER, URL))
    (taken,) = started.taken
    assert (taken.mail_from, taken.rcpt_tos) == ("hooks@example.test", ["bob@example.test"])
    assert isinstance(taken.content, bytes)
    assert b"Subject: You are invited to Acme" in taken.content
    assert row(sessions).sent_at is not None


async def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    server: tuple[Server, int],
) -> None:
    started, port = server
    await queued(api_sessions, ring)
    assert send(sessions, Outgoing(ring, _smtp(port, trustme.CA()), SENDER, URL))
    assert started.taken == []
    left = row(sessions)
    assert "certificate verify failed" in (left.last_failure or "")
    assert left.sealed is not None
    assert left.due_at is not None


async def test_a_server_without_tls_gets_nothing_where_tls_is_required(authority: trustme.CA) -> None:
    started = Server(authority, offers_tls=False)
    port = started.start()
    message = EmailMessage()
    message.set_content("hello")
    try:
        with pytest.raises(NotSent, match="STARTTLS"):
            _smtp(port, authority).send(message, "a@example.test", "b@example.test")
        assert started.taken == []
        _smtp(port, authority, tls_required=False).send(message, "a@example.test", "b@example.test")
        assert len(started.taken) == 1
    finally:
        started.stop()


async def test_an_address_that_is_refused_for_ever_is_given_up_at_once(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    server: tuple[Server, int],
    authority: trustme.CA,
) -> None:
    await queued(api_sessions, ring, Letter("invitation", "gone@example.test", VALUES))
    refused = counting("postrider_mails_total", outcome="refused")
    assert send(sessions, Outgoing(ring, _smtp(server[1], authority), SENDER, URL))
    assert refused.more == 1
    left = row(sessions)
    assert (left.sealed, left.due_at, left.sent_at) == (None, None, None)
    assert left.last_failure == "the mail server said 550: 5.1.1 nobody here has that name"


async def test_a_failure_rests_longer_each_time_and_is_given_up_after_a_day(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    server: tuple[Server, int],
    authority: trustme.CA,
) -> None:
    outgoing = Outgoing(ring, _smtp(server[1], authority), SENDER, URL)
    await queued(api_sessions, ring, Letter("invitation", "later@example.test", VALUES))
    rests, failed = [], counting("postrider_mails_total", outcome="failed")
    for _ in range(5):
        assert send(sessions, outgoing)
        assert not send(sessions, outgoing)
        left = row(sessions)
        assert left.due_at is not None
        with sessions.begin() as db:
            rests.append(round((left.due_at - db.scalar(select(func.now()))).total_seconds() / 60))  # type: ignore[operator]  # it is there
        age(sessions, timedelta())
    assert rests == [1, 4, 16, 60, 60]
    assert failed.more == 5
    age(sessions, timedelta(hours=25))
    given_up = counting("postrider_mails_total", outcome="given_up")
    assert not send(sessions, outgoing)
    assert given_up.more == 1
    left = row(sessions)
    assert (left.sealed, left.due_at) == (None, None)
    assert left.last_failure == "the mail server said 450: 4.2.1 try later"


async def test_without_a_port_mail_waits_and_is_spoken_of_once(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    postman = Postman(sessions, Outgoing(ring, None, SENDER, URL), Stopping())
    postman._go_round()
    assert caplog.records == []
    await queued(api_sessions, ring)
    for _ in range(3):
        postman._go_round()
    assert caplog.messages == ["mail_has_no_server"]
    assert row(sessions).attempts == 0
    age(sessions, timedelta(hours=25))
    given_up = counting("postrider_mails_total", outcome="given_up")
    postman._go_round()
    assert given_up.more == 1


async def test_a_postman_sends_what_is_due_when_he_is_woken_and_ends(
    api_sessions: async_sessionmaker[AsyncSession],
    sessions: sessionmaker[Session],
    ring: KeyRing,
    outgoing: Outgoing,
) -> None:
    await queued(api_sessions, ring)
    await queued(api_sessions, ring)
    postman = Postman(sessions, outgoing, Stopping())
    postman.start()
    postman.wake()
    with sessions() as db:
        for _ in range(200):
            if db.scalar(select(func.count()).where(Mail.sent_at.is_not(None))) == 2:
                break
            db.rollback()
            postman._thread.join(0.05)
    postman.stop()
    assert not postman._thread.is_alive()
    assert len(kept(outgoing)) == 2


def _smtp(port: int, authority: trustme.CA, *, tls_required: bool = True) -> Smtp:
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    url = f"smtp://post:s3cret%3Aof%40all@localhost:{port}"
    return Smtp(SmtpServer.parse(url, tls_required=tls_required), trusted)
