"""Makes people and puts them into organisations."""

from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import email
from app.domain.permissions import Role
from app.features.people import queries
from app.kit.clock import new_id, utc_now
from app.kit.db import enter_tenants
from app.models import Membership, Password, User


def create_user(db: Session, address: str, name: str = "", *, verified: bool = False) -> User:
    """Adds a person, whom the transaction has to name or may see anyway. ValueError for what is no address.

    IntegrityError when the address is taken; look with `queries.find_user` first.
    """
    key = email.key(address)
    if key is None:
        msg = f"{address!r} is no mail address"
        raise ValueError(msg)
    made = User(
        id=new_id(), email=address.strip(), email_key=key, name=name, email_verified_at=utc_now() if verified else None
    )
    db.add(made)
    return made


def join(db: Session, organisation_id: UUID, user_id: UUID, role: Role) -> Membership:
    """Puts a person into an organisation; one that is there already gets the role."""
    found = db.scalars(queries.membership(organisation_id, user_id)).one_or_none()
    if found is None:
        found = Membership(organisation_id=organisation_id, user_id=user_id, role=role)
        db.add(found)
    found.role = role
    db.flush()
    return found


def set_password(db: Session, user_id: UUID, hashed: str) -> None:
    """Gives a person a password, or another one; its rules were held to before it was hashed."""
    found = db.scalars(queries.password(user_id)).one_or_none()
    if found is None:
        db.add(Password(user_id=user_id, hash=hashed))
    else:
        found.hash, found.changed_at = hashed, utc_now()
    db.flush()


def replace_hash(db: Session, user_id: UUID, old: str, hashed: str) -> None:
    """Keeps the same password under another hash, unless it was changed meanwhile."""
    db.execute(queries.replace_hash(user_id, old, hashed))


def create_owner(db: Session, organisation_id: UUID, address: str) -> User:
    """The person of this address as owner of the organisation, made when it is not there; for the operator's commands.

    ValueError for what is no address.
    """
    key = email.key(address)
    known = None if key is None else db.scalar(queries.find_user(key))
    user = create_user(db, address, verified=True) if known is None else db.scalars(queries.user(known)).one()
    enter_tenants(db, [organisation_id, user.id])
    db.flush()
    join(db, organisation_id, user.id, Role.owner)
    return user
