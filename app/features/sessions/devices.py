"""The browsers that people sign in with: recognised by a signed cookie and a coarse look, believed in nothing."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.addresses import Address
from app.domain.browsers import Browser
from app.features.sessions import queries
from app.kit.clock import new_id, utc_now
from app.models import Device


@dataclass(frozen=True, slots=True)
class Met:
    """The device of a sign-in; `is_new` when the person never used it, `is_first` when there was none before."""

    id: UUID
    is_new: bool
    is_first: bool


def is_known(db: Session, user_id: UUID, device_id: UUID | None, browser: Browser) -> bool:
    """Whether the person has signed in with this device, and it still looks the same: cookies are copied."""
    return _known(db, user_id, device_id, browser) is not None


def meet(db: Session, user_id: UUID, device_id: UUID | None, browser: Browser, address: Address | None) -> Met:
    """The device with which a person signs in now. One that somebody else signs in with too keeps its id."""
    known = _known(db, user_id, device_id, browser)
    if known is not None:
        known.last_seen_at, known.last_seen_from = utc_now(), address
        return Met(known.id, is_new=False, is_first=False)
    is_first = not db.scalar(queries.has_devices(user_id))
    is_taken = device_id is not None and db.scalars(queries.device(user_id, device_id)).one_or_none() is not None
    made = new_id() if device_id is None or is_taken else device_id
    db.add(Device(user_id=user_id, id=made, name=browser.name, fingerprint=browser.fingerprint, last_seen_from=address))
    return Met(made, is_new=True, is_first=is_first)


def _known(db: Session, user_id: UUID, device_id: UUID | None, browser: Browser) -> Device | None:
    found = None if device_id is None else db.scalars(queries.device(user_id, device_id)).one_or_none()
    return found if found is not None and found.fingerprint == browser.fingerprint else None
