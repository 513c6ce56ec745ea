"""The pages about the organisation that a person looks at: its people, who is invited, and which one is looked at."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from fastapi import Response
from sqlalchemy.orm import Session

from app.auth.people import Person, RecentlySignedIn, SignedIn
from app.auth.phases import InPhases
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.domain.ids import decode, encode
from app.domain.permissions import Permission, Role
from app.features.members import operations, overview, queries
from app.features.members.errors import INVITATION, USER
from app.features.members.operations import Acting
from app.features.members.overview import Seat
from app.kit import changes
from app.kit.encryption import KeyRing
from app.kit.errors import Problem, forbidden, invalid, not_found

PAGE = "/organisation"
MEMBERS = f"{PAGE}/members"
TEMPLATE = "people/members.html"
router = Pages(PAGE)
DONE = {
    "invited": "The invitation is on its way",
    "changed": "The role is changed",
    "removed": "The person is removed",
    "sent": "The invitation is sent again",
    "revoked": "The invitation is revoked",
}
Act = Callable[[Session, Acting], None]


@router.get("/members")
async def show(visiting: Visiting, person: SignedIn, phases: InPhases, done: str = "") -> Response:
    """Who belongs to the organisation, as far as the person may see it."""
    return await _page(visiting, person, phases, done=done)


@router.post("/members/invite")
async def invite(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Invites somebody."""
    address, role, ring = field(fields, "email"), _role(field(fields, "role")), _ring(visiting)

    def act(db: Session, acting: Acting) -> None:
        operations.invite(db, ring, acting, address, role)

    return await _do(visiting, person, phases, act, "invited", email=address)


@router.post("/members/role")
async def change_role(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Gives somebody another role."""
    user_id, role = _id(USER, field(fields, "member")), _role(field(fields, "role"))

    def act(db: Session, acting: Acting) -> None:
        operations.change_role(db, acting, operations.find(db, acting.organisation_id, user_id), role)

    return await _do(visiting, person, phases, act, "changed")


@router.post("/members/remove")
async def remove(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Takes somebody out of the organisation."""
    user_id = _id(USER, field(fields, "member"))

    def act(db: Session, acting: Acting) -> None:
        operations.remove(db, acting, operations.find(db, acting.organisation_id, user_id))

    return await _do(visiting, person, phases, act, "removed")


@router.post("/members/resend")
async def resend(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Sends an invitation once more."""
    invitation_id, ring = _id(INVITATION, field(fields, "invitation")), _ring(visiting)

    def act(db: Session, acting: Acting) -> None:
        found = operations.find_invitation(db, acting.organisation_id, invitation_id)
        operations.send_again(db, ring, acting, found)

    return await _do(visiting, person, phases, act, "sent")


@router.post("/members/revoke")
async def revoke(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Takes an invitation back."""
    invitation_id = _id(INVITATION, field(fields, "invitation"))

    def act(db: Session, acting: Acting) -> None:
        operations.revoke(db, acting, operations.find_invitation(db, acting.organisation_id, invitation_id))

    return await _do(visiting, person, phases, act, "revoked")


@router.post("/members/leave")
async def leave(visiting: Visiting, person: RecentlySignedIn, _fields: Posted, phases: InPhases) -> Response:
    """Leaves the organisation; this session, which looked at it, is over."""

    def act(db: Session) -> None:
        seat = _seat(db, person)
        operations.leave(db, seat.acting(visiting.where()), operations.find(db, seat.organisation_id, person.user_id))

    try:
        async with phases.begin(person.user_id) as db:
            await db.run_sync(act)
    except Problem as problem:
        return await _page(visiting, person, phases, problem=problem)
    return visiting.go("/sign-in")


@router.post("/switch")
async def switch(visiting: Visiting, person: SignedIn, fields: Posted, phases: InPhases) -> Response:
    """Looks at another organisation of the person."""
    organisation_id = _id("org", field(fields, "organisation"))

    def act(db: Session) -> None:
        overview.take_seat(db, person.user_id, person.email, organisation_id)
        db.execute(queries.look_at(person.user_id, person.session_id, organisation_id))
        changes.note(db, person.user_id)

    async with phases.begin(person.user_id) as db:
        await db.run_sync(act)
    return visiting.go(MEMBERS)


async def _do(visiting: Visit, person: Person, phases: InPhases, act: Act, done: str, **typed: str) -> Response:
    """Acts for the organisation that the person looks at; what is refused is said on the page."""

    def run(db: Session) -> None:
        seat = _seat(db, person)
        if not seat.may(Permission.member_write):
            raise forbidden("Your role in this organisation does not change who belongs to it")
        act(db, seat.acting(visiting.where()))

    try:
        async with phases.begin(person.user_id) as db:
            await db.run_sync(run)
    except Problem as problem:
        if problem.word == "no_organisation":
            raise
        return await _page(visiting, person, phases, problem=problem, **typed)
    return visiting.go(f"{MEMBERS}?done={done}")


async def _page(
    visiting: Visit,
    person: Person,
    phases: InPhases,
    *,
    problem: Problem | None = None,
    done: str = "",
    email: str = "",
) -> Response:
    async with phases.begin(person.user_id) as db:
        shown = await db.run_sync(overview.look, person.user_id, person.email, person.organisation_id)
    values: dict[str, Any] = {
        "shown": shown,
        "seat": shown.seat,
        "done": DONE.get(done),
        "email": email,
        "user_id": lambda one: encode(USER, one.user.id),
        "invitation_id": lambda one: encode(INVITATION, one.id),
        "organisation_id": lambda one: encode("org", one),
    }
    if problem is not None:
        return visiting.refused(TEMPLATE, problem, **values)
    return visiting.page(TEMPLATE, problem=None, **values)


def _seat(db: Session, person: Person) -> Seat:
    return overview.take_seat(db, person.user_id, person.email, person.organisation_id)


def _id(prefix: str, text: str) -> UUID:
    found = decode(prefix, text)
    if found is None:
        raise not_found()
    return found


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise invalid("role", "is none of the roles") from None


def _ring(visiting: Visit) -> KeyRing:
    found: KeyRing = visiting.request.app.state.keyring
    return found
