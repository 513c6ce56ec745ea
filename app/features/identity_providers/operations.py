"""Who somebody is here that a provider of an organisation vouches for. The transaction names the organisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain import email
from app.domain.audit import ANONYMOUS, Actor, Event, Outcome, Target, Where
from app.domain.ids import encode
from app.domain.permissions import Role
from app.features.audit.operations import record
from app.features.identity_providers import queries
from app.features.identity_providers.accounts import Account, Vouched
from app.features.identity_providers.errors import PROVIDER, not_theirs, refused
from app.features.identity_providers.flows import LIFETIME, Flow, Offer, Sealed
from app.features.identity_providers.sealing import open_secret
from app.features.people import operations as people
from app.features.people import queries as people_queries
from app.features.sessions import operations as sessions
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.errors import conflict, not_found
from app.models import FederatedIdentity, IdentityProvider, User

LOGGED_OUT = "signed out at the identity provider"
SHUT = "the identity provider was disabled, removed or replaced"


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody whom we know, or do from now on."""

    user_id: UUID


def account(db: Session, ring: KeyRing, organisation_id: UUID, provider_id: UUID) -> Account:
    """How we are known to a provider at which people may sign in. Raises Problem `not_found`."""
    row = db.scalars(queries.enabled(organisation_id, provider_id)).one_or_none()
    if row is None:
        raise not_found("Identity provider")
    sealed = row.sealed_secret
    return Account(
        organisation_id=organisation_id,
        id=provider_id,
        issuer=row.issuer,
        client_id=row.client_id,
        secret=None if sealed is None else open_secret(ring, organisation_id, provider_id, sealed),
        auth_method=row.auth_method,
        scopes=" ".join(row.scopes),
    )


def use_up(db: Session, sealed: Sealed) -> None:
    """Lets something sealed be good no more. Raises Problem `unauthenticated` when it was used before."""
    if db.scalar(queries.use_once(sealed.organisation_id, sealed.id, sealed.expires_at)) is None:
        raise refused("state_used", "this sign-in was finished before; begin anew")


def resume(db: Session, ring: KeyRing, flow: Flow) -> Account:
    """The provider of a sign-in that comes back, which it does once. Raises Problem `unauthenticated`, `not_found`."""
    use_up(db, flow)
    return account(db, ring, flow.organisation_id, flow.provider_id)


def recognise(db: Session, flow: Flow, vouched: Vouched, where: Where) -> Known | Offer:
    """Whom the provider means: somebody known by its subject, or somebody new of a domain that is proved.

    Somebody whom we know otherwise by the address is offered to join the two. Raises Problem `forbidden` where the
    provider may not vouch for the person.
    """
    organisation_id, provider_id = flow.organisation_id, flow.provider_id
    identity = db.scalars(queries.identity(organisation_id, provider_id, vouched.subject)).one_or_none()
    if identity is not None:
        return _known(db, identity)
    address, key = _address(db, flow, vouched)
    user_id = db.scalar(people_queries.find_user(key))
    if user_id is not None:
        return Offer(
            organisation_id=organisation_id,
            provider_id=provider_id,
            next=flow.next,
            user_id=user_id,
            subject=vouched.subject,
            email=address,
        )
    user = _new_person(db, organisation_id, address, vouched.name)
    _admit(db, organisation_id, provider_id, user, vouched.subject, address)
    _note(db, organisation_id, provider_id, "provider.person_created", user, where, subject=vouched.subject)
    return Known(user.id)


def link(db: Session, offer: Offer, where: Where) -> None:
    """Joins an account at a provider to the person who was known before, and has said so just now.

    The transaction names the person too. Raises Problem `unauthenticated`, `conflict`.
    """
    use_up(db, offer)
    identity = db.scalars(queries.identity(offer.organisation_id, offer.provider_id, offer.subject)).one_or_none()
    if identity is not None:
        raise conflict("This account of your organisation belongs to somebody already")
    user = db.scalars(people_queries.user(offer.user_id)).one()
    _admit(db, offer.organisation_id, offer.provider_id, user, offer.subject, offer.email)
    _note(db, offer.organisation_id, offer.provider_id, "provider.linked", user, where, subject=offer.subject)


def log_out(db: Session, account: Account, claims: Mapping[str, Any], where: Where) -> int:
    """Ends the sessions that a logout token names, and says how many. Raises Problem `unauthenticated` for a replay."""
    used = queries.use_once(account.organisation_id, uuid5(account.id, claims["jti"]), utc_now() + 2 * LIFETIME)
    if db.scalar(used) is None:
        raise refused("token_used", "its token was used before")
    # Whoever names neither was refused before: it would be everybody.
    named = (claims.get("sub"), claims.get("sid"))
    assert named != (None, None)
    return end_sessions(db, account.organisation_id, account.id, where, LOGGED_OUT, *named)


def end_sessions(
    db: Session,
    organisation_id: UUID,
    provider_id: UUID,
    where: Where,
    reason: str,
    subject: str | None = None,
    session: str | None = None,
) -> int:
    """Ends the sessions that a provider began, of one subject or session of it if they are named; says how many.

    From then on the transaction sees the organisation and these people alone.
    """
    found = db.execute(queries.find_sessions(provider_id, subject, session)).all()
    enter_tenants(db, [organisation_id, *{one.user_id for one in found}])
    for user_id, session_id in found:
        sessions.end(db, user_id, session_id, reason)
        user = db.scalars(people_queries.user(user_id)).one()
        ended = encode("session", session_id)
        _note(db, organisation_id, provider_id, "session.ended", user, where, session=ended, reason=reason)
    return len(found)


def note_refusal(db: Session, organisation_id: UUID, provider_id: UUID | None, word: str, where: Where) -> None:
    """Writes down that a provider, or somebody in its name, was not believed, and why."""
    target = Target() if provider_id is None else Target("identity_provider", encode(PROVIDER, provider_id))
    action = "provider.refused"
    record(db, Event(organisation_id, action, ANONYMOUS, target, where, Outcome.refused, {"reason": word}))


def _known(db: Session, identity: FederatedIdentity) -> Known:
    enter_tenants(db, [identity.organisation_id, identity.user_id])
    member = db.scalars(people_queries.membership(identity.organisation_id, identity.user_id)).one_or_none()
    if member is None:
        raise not_theirs("not_a_member", "You are no longer a member of this organisation; ask to be invited again")
    identity.last_used_at = utc_now()
    return Known(identity.user_id)


def _address(db: Session, flow: Flow, vouched: Vouched) -> tuple[str, str]:
    """The address that the provider vouches for, and its key. Raises Problem `forbidden` where it may not."""
    key = None if vouched.email is None else email.key(vouched.email)
    if vouched.email is None or key is None or not vouched.email_verified:
        raise not_theirs("email_not_verified", "Your organisation's identity provider does not vouch for your address")
    if email.domain(key) not in set(db.scalars(queries.verified(flow.organisation_id, flow.provider_id))):
        raise not_theirs("domain_not_verified", "This identity provider may not vouch for addresses of your domain")
    return vouched.email, key


def _new_person(db: Session, organisation_id: UUID, address: str, name: str) -> User:
    user = people.create_user(db, address, name, verified=True)
    enter_tenants(db, [organisation_id, user.id])
    try:
        with db.begin_nested():
            db.flush()
    except IntegrityError:
        raise conflict("Somebody signed in with this address at the same moment; try again") from None
    return user


def _admit(db: Session, organisation_id: UUID, provider_id: UUID, user: User, subject: str, address: str) -> None:
    """Remembers whom the provider means, and makes a member of somebody who is none yet."""
    provider: IdentityProvider = db.scalars(queries.provider(organisation_id, provider_id)).one()
    if db.scalars(people_queries.membership(organisation_id, user.id)).one_or_none() is None:
        people.join(db, organisation_id, user.id, Role(provider.role))
    db.add(
        FederatedIdentity(
            organisation_id=organisation_id,
            provider_id=provider_id,
            subject=subject,
            user_id=user.id,
            email=address,
            last_used_at=utc_now(),
        )
    )
    db.flush()


def _note(
    db: Session, organisation_id: UUID, provider_id: UUID, action: str, user: User, where: Where, **details: object
) -> None:
    actor = Actor("user", encode("user", user.id), user.email)
    target = Target("user", actor.id, user.email)
    told = {"provider": encode(PROVIDER, provider_id), **details}
    record(db, Event(organisation_id, action, actor, target, where, Outcome.success, told))
