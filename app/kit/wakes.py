"""What a transaction asks to be woken once it is committed."""

from enum import StrEnum

from sqlalchemy.orm import Session

_INFO = "wakes"


class Wake(StrEnum):
    """Tasks of the workers that only say: look, something is due."""

    delivery = "delivery.wake"
    background = "background.run"
    mail = "mail.send"


def ask(db: Session, wake: Wake) -> None:
    """Notes that the workers have something to look at when this transaction is committed."""
    db.info.setdefault(_INFO, set()).add(wake)


def asked(db: Session) -> frozenset[Wake]:
    """What was asked for."""
    return frozenset(db.info.get(_INFO, ()))
