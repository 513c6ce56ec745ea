"""What a person sees of the organisation that it looks at, and as whom it acts there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import Actor, Where
from app.domain.ids import encode
from app.domain.permissions import GRANTED, Permission, Role, exceeds
from app.features.members import queries
from app.features.members.errors import USER, no_member
from app.features.members.operations import Acting, Member
from app.features.people import queries as people
from app.kit.db import enter_tenants
from app.models import Invitation

MOST = 200


@dataclass(frozen=True, slots=True)
class Seat:
    """A person in the organisation that its session looks at."""

    user_id: UUID
    email: str
    organisation_id: UUID
    name: str
    role: Role

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the person may there."""
        return GRANTED[self.role]

    @property
    def roles(self) -> list[Role]:
        """The roles that it may give."""
        return [one for one in Role if not exceeds(self.permissions, GRANTED[one])]

    def may(self, permission: str) -> bool:
        """Whether it may do that there."""
        return permission in self.permissions

    def reaches(self, role: str) -> bool:
        """Whether it may change who has the role."""
        return Role(role) in self.roles

    def acting(self, where: Where) -> Acting:
        """The person as the one who acts."""
        actor = Actor(USER, encode(USER, self.user_id), self.email)
        return Acting(self.organisation_id, self.permissions, actor, where, (self.organisation_id, self.user_id))


@dataclass(frozen=True, slots=True)
class Overview:
    """The page about members; lists are empty for who may not see them. `others` are (id, name) to look at instead.

    `keys` tells of each person how many keys end when it goes, where any do.
    """

    seat: Seat
    members: Sequence[Member]
    invitations: Sequence[Invitation]
    others: Sequence[tuple[UUID, str]]
    keys: Mapping[UUID | None, int]


def take_seat(db: Session, user_id: UUID, email: str, organisation_id: UUID | None) -> Seat:
    """The person's place in an organisation, which the transaction sees from now on, beside the person.

    Raises `no_organisation` for who does not, or no longer, belong to it.
    """
    belongs = {one.organisation_id: one.role for one in db.execute(people.organisations(user_id))}
    if organisation_id is None or organisation_id not in belongs:
        raise no_member()
    enter_tenants(db, [organisation_id, user_id])
    name = db.scalars(queries.organisation_in_force(organisation_id)).one_or_none()
    if name is None:
        raise no_member()
    return Seat(user_id, email, organisation_id, name, Role(belongs[organisation_id]))


def look(db: Session, user_id: UUID, email: str, organisation_id: UUID | None) -> Overview:
    """All that the person may see of the organisation. Raises `no_organisation`."""
    others = organisations(db, user_id)
    seat = take_seat(db, user_id, email, organisation_id)
    members: list[Member] = []
    invitations: Sequence[Invitation] = ()
    if seat.may(Permission.member_read):
        rows = db.execute(queries.first_members(seat.organisation_id, MOST))
        members = [Member(*row) for row in rows]
        invitations = db.scalars(queries.newest_invitations(seat.organisation_id, MOST)).all()
    elsewhere = [one for one in others if one[0] != organisation_id]
    keys = dict(db.execute(queries.key_counts(seat.organisation_id)).all())
    return Overview(seat, members, invitations, elsewhere, keys)


def organisations(db: Session, user_id: UUID) -> list[tuple[UUID, str]]:
    """(id, name) of all organisations that the person belongs to; the transaction sees them from now on."""
    enter_tenants(db, [user_id, *(one.organisation_id for one in db.execute(people.organisations(user_id)))])
    return [(one.id, one.name) for one in db.execute(queries.organisations_of(user_id))]
