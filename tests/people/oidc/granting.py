"""Grants and tokens made beside the API, as its own parts make them: for what tokens open, not for how they are got."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app.domain.permissions import Role
from app.features.oauth import keys
from app.features.oauth.tokens import Access, Grant, Minter
from app.kit.clock import new_id, utc_now
from app.kit.token_keys import Algorithm
from app.models import OAuthClient, OAuthFamily, User
from app.settings import Settings
from tests.api.client import Tenant
from tests.people.visitor import Known


@dataclass(frozen=True)
class Granter:
    """Makes clients, families and tokens of one installation."""

    sessions: sessionmaker[Session]
    settings: Settings

    def client(self, tenant: Tenant, role: Role = Role.owner, **more: Any) -> OAuthClient:  # noqa: ANN401 any column
        """A confidential client of the organisation."""
        given = {
            "auth_method": "client_secret_basic",
            "redirect_uris": ["https://client.example.test/back"],
            "post_logout_redirect_uris": [],
            "grant_types": ["client_credentials"],
            "scopes": ["openid", "organisation:read", "application:list", "application:write", "message:send"],
            "id_token_algorithm": "RS256",
            **more,
        }
        client = OAuthClient(
            organisation_id=tenant.organisation_id,
            id=new_id(),
            environment_id=tenant.id,
            name="a client",
            role=role,
            **given,
        )
        with self.sessions.begin() as db:
            db.add(client)
        return client

    def grant(
        self,
        client: OAuthClient,
        person: Known | None = None,
        *scopes: str,
        session: UUID | None = None,
        methods: Sequence[str] = ("pwd",),
    ) -> Grant:
        """A grant of the client, by a person or in its own name, that lasts for a day."""
        wanted = list(scopes or client.scopes)
        with self.sessions.begin() as db:
            user = None if person is None else db.get_one(User, person.id)
            family = OAuthFamily(
                organisation_id=client.organisation_id,
                id=new_id(),
                client_id=client.id,
                user_id=None if user is None else user.id,
                session_id=session,
                began_in=session,
                session_version=None if user is None else user.session_version,
                scopes=wanted,
                methods=list(methods),
                authenticated_at=utc_now(),
                expires_at=utc_now() + timedelta(days=1),
            )
            db.add(family)
        return Grant(
            client.organisation_id,
            family.id,
            client.id,
            wanted,
            user_id=family.user_id,
            session_id=session,
            methods=tuple(methods),
            authenticated_at=family.authenticated_at,
        )

    def minter(self) -> Minter:
        """What mints by the keys of this moment."""
        with self.sessions.begin() as db:
            return Minter(self.settings.issuer, keys.key_set(db, self.settings.secrets.ring()))

    def access(self, grant: Grant, algorithm: Algorithm = Algorithm.rs256) -> Access:
        """An access token."""
        return self.minter().access_token(replace(grant, algorithm=algorithm))
