"""The members of the caller's organisation and its invitations, over HTTP."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response, status

from app.auth.audit import actor_of, where_of
from app.auth.caller import Caller
from app.auth.dependencies import AnyCaller, CanReadMembers, CanWriteMembers, Db, require
from app.auth.idempotency import Answer, OnceOnly
from app.domain.ids import decode
from app.domain.permissions import Permission
from app.features.members import operations, queries
from app.features.members.errors import INVITATION, USER
from app.features.members.operations import Acting, Member
from app.features.members.schemas import InvitationIn, InvitationOut, MemberOut, MemberPatch
from app.kit.conditional import IfMatchRequired, etag
from app.kit.errors import not_found
from app.kit.openapi import problems
from app.kit.paging import Listing, Order, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.models import Invitation, Membership

router = Router(tag="member", prefix="/organisation/member")
invitations = Router(tag="invitation", prefix="/organisation/invitation")
MemberId = Annotated[Reference, Path(description="The person's id")]
InvitationId = Annotated[Reference, Path(description="The invitation's id")]


def acting(request: Request, caller: AnyCaller) -> Acting:
    """Who acts, for the rules that hold for pages too."""
    return Acting(caller.organisation_id, caller.permissions, actor_of(caller), where_of(request), caller.tenants)


ActingCaller = Annotated[Acting, Depends(acting)]


class MemberFor:
    """A dependency: the member in the path, for a caller that holds `permission`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, member_id: MemberId, db: Db, caller: AnyCaller) -> Member:
        """The member. Raises Problem `not_found` or `forbidden`."""
        require(caller, self.permission)
        found = decode(USER, member_id)
        if found is None:
            raise not_found("Member")
        return await db.run_sync(operations.find, caller.organisation_id, found)


async def locked_invitation(invitation_id: InvitationId, db: Db, caller: CanWriteMembers) -> Invitation:
    """The invitation in the path, for a caller that may change it. Raises Problem `not_found`."""
    found = decode(INVITATION, invitation_id)
    if found is None:
        raise not_found("Invitation")
    return await db.run_sync(operations.find_invitation, caller.organisation_id, found)


ReadableMember = Annotated[Member, Depends(MemberFor(Permission.member_read))]
WritableMember = Annotated[Member, Depends(MemberFor(Permission.member_write))]
LockedInvitation = Annotated[Invitation, Depends(locked_invitation)]


@router.get("")
async def list_(caller: CanReadMembers, db: Db, page: PageQuery) -> Listing[MemberOut]:
    """The organisation's people, the newest first."""
    found = await paginate(
        db,
        queries.members(caller.organisation_id),
        Membership.user_id,
        page,
        seal=_seal("members", caller),
        shape=lambda row: MemberOut.of(Member(row[0], row[1])),
        order=Order.descending,
    )
    return Listing[MemberOut](**found)


@router.get("/{member_id}")
async def get(found: ReadableMember, response: Response) -> MemberOut:
    """One person."""
    return _shown(found, response)


@router.patch("/{member_id}", responses=problems(409))
async def patch(
    found: WritableMember,
    db: Db,
    acts: ActingCaller,
    wanted: MemberPatch,
    if_match: IfMatchRequired,
    response: Response,
) -> MemberOut:
    """Gives a person another role, which holds from its next request on. The last owner stays one."""
    if_match.check(found.membership.version)
    await db.run_sync(operations.change_role, acts, found, wanted.role)
    return _shown(found, response)


@router.delete("/{member_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(409))
async def remove(found: WritableMember, db: Db, acts: ActingCaller) -> None:
    """Takes a person out: its sessions here, its tokens and the API keys that it made are refused at once.

    The keys end for good: see before, by `madeBy` of each key, which programs need another one. The last owner stays.
    """
    await db.run_sync(operations.remove, acts, found)


@router.delete("/{member_id}/session", status_code=status.HTTP_204_NO_CONTENT)
async def end_sessions(found: WritableMember, db: Db, acts: ActingCaller) -> None:
    """Signs a person out: each session that looks at the organisation is refused at once. It may sign in again."""
    await db.run_sync(operations.end_sessions, acts, found)


@invitations.get("")
async def list_invitations(
    caller: CanReadMembers,
    db: Db,
    page: PageQuery,
    include_closed: Annotated[bool, Query(description="Show accepted and revoked ones too")] = False,  # noqa: FBT002
) -> Listing[InvitationOut]:
    """The invitations that nobody has accepted yet, the newest first."""
    found = await paginate(
        db,
        queries.invitations(caller.organisation_id, closed=include_closed),
        Invitation.id,
        page,
        seal=_seal("invitations", caller),
        shape=InvitationOut.of,
        order=Order.descending,
    )
    return Listing[InvitationOut](**found)


@invitations.post("", status_code=status.HTTP_201_CREATED, response_model=InvitationOut, responses=problems(409))
async def invite(
    _caller: CanWriteMembers, request: Request, db: Db, acts: ActingCaller, new: InvitationIn, once: OnceOnly
) -> Response:
    """Offers somebody a role that is not beyond the caller's own, by a mail whose link is good for seven days."""

    async def work() -> Answer:
        made = await db.run_sync(operations.invite, request.app.state.keyring, acts, new.email, new.role)
        return Answer(status.HTTP_201_CREATED, InvitationOut.of(made))

    return await once(status.HTTP_201_CREATED, work)


@invitations.post("/{invitation_id}/resend", response_model=InvitationOut, responses=problems(409))
async def resend(found: LockedInvitation, request: Request, db: Db, acts: ActingCaller, once: OnceOnly) -> Response:
    """Sends the mail once more with another link, good for seven days from now; the link of before ends."""

    async def work() -> Answer:
        await db.run_sync(operations.send_again, request.app.state.keyring, acts, found)
        return Answer(status.HTTP_200_OK, InvitationOut.of(found))

    return await once(status.HTTP_200_OK, work)


@invitations.delete("/{invitation_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke(found: LockedInvitation, db: Db, acts: ActingCaller) -> None:
    """Takes an invitation back; its link opens nothing any more."""
    await db.run_sync(operations.revoke, acts, found)


def _seal(name: str, caller: Caller) -> Seal:
    return Seal(name, caller.tenants)


def _shown(found: Member, response: Response) -> MemberOut:
    response.headers["etag"] = etag(found.membership.version)
    return MemberOut.of(found)
