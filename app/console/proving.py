"""What the pages share that ask for a factor: challenges for passkeys, and a bound on how often codes are tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.auth.phases import Phases
from app.console.sign_in import circumstances
from app.console.visits import Visit, field
from app.features.factors import proofs, service
from app.features.factors.offers import Offer
from app.features.factors.passkeys import CHALLENGE_BYTES, Answer, RelyingParty
from app.features.sign_in.throttle import SECOND_STEP, Account, Throttle, Try
from app.kit.encryption import KeyRing
from app.models import Passkey

MAX_ANSWER = 16 * 1024
WRONG_CODE = "That code is not right, or was used before"
WRONG_PASSKEY = "The passkey could not be verified: try again"


def ring(visiting: Visit) -> KeyRing:
    """The installation's keys."""
    found: KeyRing = visiting.request.app.state.keyring
    return found


def party(visiting: Visit) -> RelyingParty:
    """The installation as passkeys know it."""
    return RelyingParty.of(visiting.settings.public_url)


@dataclass(frozen=True, slots=True)
class Asked:
    """A challenge as a page carries it: what the browser is asked, and what comes back with its answer."""

    options: str
    offer: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a page asks for passkeys; good once, and for the same owner, such as a session."""

    purpose: str
    owner: bytes

    def ask(self, visiting: Visit, known: Sequence[Passkey] = ()) -> Asked:
        """A new one; where none is known, for any person's passkey."""
        offer = Offer.new(CHALLENGE_BYTES)
        options = party(visiting).request(offer.secret, known)
        return Asked(options, offer.seal(ring(visiting), self.purpose, self.owner))

    def answered(self, visiting: Visit, fields: FormData) -> tuple[Offer, Answer] | None:
        """The challenge and the answer in a form's fields, not verified yet; None where either is nothing of ours."""
        offer = Offer.open(ring(visiting), self.purpose, self.owner, field(fields, "offer"))
        answer = Answer.read(field(fields, "credential", MAX_ANSWER))
        return None if offer is None or answer is None else (offer, answer)


async def holds_passkey(visiting: Visit, phases: Phases, user_id: UUID, answered: tuple[Offer, Answer] | None) -> bool:
    """Whether the answer proves a passkey of the person; one that is the person's and proves nothing is noted.

    A challenge of 256 bits is not guessed, so that how often it is tried does not matter.
    """
    if answered is None:
        return False
    async with phases.begin(user_id) as db:
        if await db.run_sync(proofs.holds_passkey, party(visiting), user_id, *answered):
            return True
    async with phases.begin(user_id) as db:
        await db.run_sync(service.note_refused, user_id, answered[1], visiting.where())
    return False


async def holds_code(visiting: Visit, phases: Phases, user_id: UUID, proof: Callable[[Session], bool]) -> bool:
    """Whether a code is good; failures count. Raises Problem `too_many`."""
    throttle: Throttle = visiting.request.app.state.throttle

    async def prove() -> bool:
        async with phases.begin(user_id) as db:
            return await db.run_sync(proof)

    return await throttle.guard(phases, Try(Account(user_id), SECOND_STEP, circumstances(visiting)), prove)
