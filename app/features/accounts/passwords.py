"""New passwords: judged, hashed, and kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.people import has_mfa
from app.domain.passwords import LONGEST, Weakness, normalised, shortest, weaknesses
from app.features.people import queries
from app.features.people.journal import enter_organisations
from app.kit.errors import Fault, Kind, Problem
from app.kit.hashing import Hasher
from app.models import User

SENTENCES = {
    Weakness.too_short: "It is too short: use at least {shortest} characters, a few words that you will remember",
    Weakness.too_long: f"It is too long: use at most {LONGEST} characters",
    Weakness.blocklisted: (
        "Many people use it, or it is made of your name, your address, your organisation or this product: "
        "whoever guesses tries that first"
    ),
    Weakness.too_guessable: "It is easy to guess: use more words, or less usual ones",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person's password is held against."""

    words: Sequence[str]
    has_mfa: bool

    @property
    def shortest(self) -> int:
        """How many characters it needs."""
        return shortest(has_mfa=self.has_mfa)


def rules_of(db: Session, user: User) -> Rules:
    """The rules for a person's password. The transaction sees the person's organisations from now on."""
    organisations = enter_organisations(db, user.id)
    names = db.scalars(queries.names(organisations))
    return Rules([user.name, user.email, *names], bool(db.scalar(has_mfa(user.id))))


async def hashed(hasher: Hasher, password: str, rules: Rules) -> str:
    """A password that is good enough, as it is stored. Raises Problem `invalid` with every reason, `unavailable`."""
    found = await hasher.run(_judge, password, rules)
    if found:
        raise _weak(found, rules)
    return await hasher.hash(normalised(password))


def _judge(password: str, rules: Rules) -> list[Weakness]:
    return weaknesses(password, rules.words, has_mfa=rules.has_mfa)


def _weak(found: Sequence[Weakness], rules: Rules) -> Problem:
    told = [SENTENCES[one].format(shortest=rules.shortest) for one in found]
    faults = [Fault(("body", "password"), text, one) for one, text in zip(found, told, strict=True)]
    return Problem(Kind.invalid, "invalid", ". ".join(told), faults=faults, word=found[0])
