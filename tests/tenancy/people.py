"""A person of a resident, with a row in each table that only somebody at a browser, or a client, fills."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app.domain.permissions import Role
from app.features.people import operations
from app.kit.clock import new_id, utc_now
from app.kit.db import Base
from app.models import (
    Device,
    FailureCount,
    FederatedIdentity,
    IdentityProvider,
    LogoutNotice,
    OAuthCode,
    OAuthConsent,
    OAuthFamily,
    OAuthRefreshToken,
    OneTimeToken,
    Passkey,
    Password,
    PersonSession,
    ProviderDomain,
    RecoveryCode,
    RevokedToken,
    Totp,
    UsedTicket,
)

LATER = utc_now() + timedelta(days=1)


def domain_of(organisation_id: UUID) -> str:
    """The domain that its identity provider is to vouch for, which no other organisation has."""
    return f"{organisation_id.hex}.test"


def settle_person(sessions: sessionmaker[Session], organisation_id: UUID, client_id: UUID) -> tuple[UUID, UUID]:
    """Adds the person, who is an owner, and an identity provider of the organisation; both ids come back."""
    with sessions.begin() as db:
        user = operations.create_user(db, f"owner@{domain_of(organisation_id)}", "shared", verified=True)
        db.flush()
        operations.join(db, organisation_id, user.id, Role.owner)
        provider_id = new_id()
        for row in (*_of_person(user.id), *_of_provider(organisation_id, provider_id, user.id)):
            db.add(row)
            db.flush()
        for row in _of_clients(organisation_id, user.id, client_id):
            db.add(row)
            db.flush()
        return user.id, provider_id


def _of_person(user_id: UUID) -> list[Base]:
    return [
        Password(user_id=user_id, hash="shared"),
        FailureCount(user_id=user_id, kind="password", device_id=user_id, failures=1, failed_at=LATER),
        OneTimeToken(user_id=user_id, id=new_id(), purpose="sign_in", digest=b"", data={}, expires_at=LATER),
        Totp(user_id=user_id, id=new_id(), sealed=b""),
        RecoveryCode(user_id=user_id, id=new_id(), digest=b""),
        Passkey(
            user_id=user_id,
            id=new_id(),
            credential_id=user_id.bytes,
            public_key=b"",
            sign_count=0,
            transports=[],
            is_backed_up=False,
            name="shared",
        ),
        Device(user_id=user_id, id=new_id(), name="shared", fingerprint=b""),
        PersonSession(
            user_id=user_id,
            id=new_id(),
            digest=b"",
            session_version=1,
            methods=["pwd"],
            expires_at=LATER,
            user_agent="shared",
        ),
    ]


def _of_provider(organisation_id: UUID, provider_id: UUID, user_id: UUID) -> list[Base]:
    here = {"organisation_id": organisation_id}
    return [
        IdentityProvider(
            **here,
            id=provider_id,
            name="shared",
            issuer="https://idp.example.test",
            client_id="shared",
            auth_method="none",
            scopes=["openid"],
            role="viewer",
        ),
        ProviderDomain(**here, provider_id=provider_id, domain=domain_of(organisation_id), challenge="shared"),
        FederatedIdentity(**here, provider_id=provider_id, subject="shared", user_id=user_id, email="shared"),
    ]


def _of_clients(organisation_id: UUID, user_id: UUID, client_id: UUID) -> list[Base]:
    here, family_id = {"organisation_id": organisation_id, "client_id": client_id}, new_id()
    return [
        OAuthConsent(**here, user_id=user_id, scopes=["openid"]),
        OAuthFamily(
            **here,
            id=family_id,
            user_id=user_id,
            session_version=1,
            scopes=["openid"],
            methods=["pwd"],
            expires_at=LATER,
        ),
        OAuthCode(
            **here,
            user_id=user_id,
            id=new_id(),
            family_id=family_id,
            digest=b"",
            redirect_uri="https://shared.example.test/",
            challenge="shared",
            scopes=["openid"],
            expires_at=LATER,
        ),
        OAuthRefreshToken(
            organisation_id=organisation_id, family_id=family_id, id=new_id(), digest=b"", scopes=["openid"]
        ),
        RevokedToken(organisation_id=organisation_id, token_id="shared", expires_at=LATER),
        LogoutNotice(**here, id=new_id(), user_id=user_id, session_id=new_id()),
        UsedTicket(owner_id=organisation_id, ticket_id=new_id(), expires_at=LATER),
    ]
