"""Sends mail: claims a row, sends with no transaction open, records what came of it."""

import threading
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from app.features.mail import operations, queries
from app.features.mail.letters import write
from app.kit.encryption import KeyRing, Undecryptable
from app.kit.post import NotSent, Port, compose, envelope_sender
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import MAILS
from app.models import Mail
from worker.stopping import Stopping

INTERVAL_SECONDS = 2.0
logger = get_logger(__name__)
_SENT, _FAILED, _REFUSED, _GIVEN_UP = map(MAILS.labels, ("sent", "failed", "refused", "given_up"))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What mail needs to leave; without a port it waits for one."""

    ring: KeyRing
    port: Port | None
    sender: str
    public_url: str


class Postman:
    """Sends what is due in a thread of its own: a slow mail server holds nothing else up."""

    def __init__(self, sessions: sessionmaker[Session], outgoing: Outgoing, stopping: Stopping) -> None:
        self._sessions = sessions
        self._outgoing = outgoing
        self._stopping = stopping
        self._ended = False
        self._woken = threading.Event()
        self._has_told = False
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Says that mail is due; returns at once."""
        self._woken.set()

    def stop(self) -> None:
        """Ends the thread after the mail that is being sent, if that does not take long."""
        self._ended = True
        self._woken.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._is_over():
            self._woken.clear()
            try:
                self._go_round()
            except Exception:
                # Whatever it is, the thread may not end with it.
                logger.exception("mail_failed", effect="the next round tries again")
            self._woken.wait(INTERVAL_SECONDS)

    def _go_round(self) -> None:
        if self._outgoing.port is None:
            self._tell_of_waiting()
            return
        while not self._is_over() and send_one(self._sessions, self._outgoing, self._outgoing.port):
            pass

    def _tell_of_waiting(self) -> None:
        with self._sessions.begin() as db:
            given_up = operations.give_up(db)
            waits = db.scalar(queries.is_due())
        _GIVEN_UP.inc(given_up)
        if waits and not self._has_told:
            logger.error(
                "mail_has_no_server",
                effect="it waits for a day at most",
                remedy="set POSTRIDER_MAIL__URL",
            )
            self._has_told = True

    def _is_over(self) -> bool:
        return self._ended or self._stopping.is_set()


def send_one(sessions: sessionmaker[Session], outgoing: Outgoing, port: Port) -> bool:
    """Sends the mail that waits longest; False when none is due. What is too old is given up before."""
    with sessions.begin() as db:
        given_up = operations.give_up(db)
        mail = operations.claim(db)
    _GIVEN_UP.inc(given_up)
    if mail is None:
        return False
    try:
        _send(mail, outgoing, port)
    except (NotSent, Undecryptable) as error:
        logger.warning("mail_not_sent", mail_id=str(mail.id), kind=mail.kind, attempt=mail.attempts, error=str(error))
        is_final = isinstance(error, NotSent) and error.is_final
        (_REFUSED if is_final else _FAILED).inc()
        statement = (
            queries.refused(mail, str(error))
            if is_final
            else queries.failed(mail, str(error), operations.rest(mail.attempts))
        )
    else:
        logger.info("mail_sent", mail_id=str(mail.id), kind=mail.kind, attempt=mail.attempts)
        statement = queries.sent(mail)
        _SENT.inc()
    with sessions.begin() as db:
        db.execute(statement)
    return True


def _send(mail: Mail, outgoing: Outgoing, port: Port) -> None:
    letter = operations.unseal(outgoing.ring, mail)
    text = write(letter, outgoing.public_url)
    message = compose(mail.id, outgoing.sender, letter.address, text.subject, text.body)
    port.send(message, envelope_sender(outgoing.sender), letter.address)
