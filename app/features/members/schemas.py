"""Members and invitations on the wire."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from app.domain import email
from app.domain.ids import encode
from app.domain.permissions import Role
from app.features.members.errors import INVITATION, USER
from app.features.members.operations import Member
from app.kit.wire import Out, OwnIn
from app.models import Invitation


def _address(text: str) -> str:
    if email.key(text) is None:
        msg = "is no mail address"
        raise ValueError(msg)
    return text.strip()


RoleName = Annotated[Role, Field(strict=False)]
Address = Annotated[
    str, AfterValidator(_address), Field(max_length=email.MAX_LENGTH, json_schema_extra={"format": "email"})
]


class MemberPatch(OwnIn):
    """What a member may from now on."""

    role: RoleName


class MemberOut(Out):
    """A person in the organisation."""

    id: str
    email: str
    name: str
    role: Role
    disabled_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: Member) -> Self:
        """The wire's view of rows."""
        return cls(
            id=encode(USER, found.user.id),
            email=found.user.email,
            name=found.user.name,
            role=found.role,
            disabled_at=found.user.disabled_at,
            created_at=found.membership.created_at,
            updated_at=found.membership.updated_at,
        )


class InvitationIn(OwnIn):
    """Whom to invite, and as what."""

    email: Address
    role: RoleName


class InvitationOut(Out):
    """An invitation; its link is in the mail alone."""

    id: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    sent_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    accepted_by: str | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: Invitation) -> Self:
        """The wire's view of a row."""
        return cls(
            id=encode(INVITATION, row.id),
            email=row.email,
            role=Role(row.role),
            invited_by=row.invited_by,
            created_at=row.created_at,
            sent_at=row.sent_at,
            expires_at=row.expires_at,
            accepted_at=row.accepted_at,
            accepted_by=None if row.accepted_by is None else encode(USER, row.accepted_by),
            revoked_at=row.revoked_at,
        )
