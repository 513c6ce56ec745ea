"""Statements that forget what people, clients and mail leave behind, each by the index of when it is over."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Delete, func

from app.domain.failures import STOP
from app.features.retention.queries import purge
from app.models import (
    FailureCount,
    Invitation,
    LogoutNotice,
    Mail,
    OAuthCode,
    OAuthFamily,
    OneTimeToken,
    PersonSession,
    RevokedToken,
    UsedTicket,
)

CODES_KEPT = timedelta(days=1)
"""For as long as the second use of a code shows."""
TOLD_KEPT = timedelta(days=30)
"""For as long as an operator may ask what became of a mail, or of a word to a client."""


def purges(kept: timedelta, most: int) -> Mapping[str, Delete]:
    """A small step for each table; refresh tokens go with their families.

    Sessions that are over are the history against which sign-ins are judged, for as long as messages are kept.
    """
    now, old = func.now(), func.now() - TOLD_KEPT
    return {
        "one_time_tokens": purge(
            OneTimeToken, [OneTimeToken.user_id, OneTimeToken.id], OneTimeToken.expires_at < now, most
        ),
        "used_tickets": purge(
            UsedTicket, [UsedTicket.owner_id, UsedTicket.ticket_id], UsedTicket.expires_at < now, most
        ),
        "revoked_tokens": purge(
            RevokedToken, [RevokedToken.organisation_id, RevokedToken.token_id], RevokedToken.expires_at < now, most
        ),
        "oauth_codes": purge(
            OAuthCode, [OAuthCode.organisation_id, OAuthCode.id], OAuthCode.expires_at < now - CODES_KEPT, most
        ),
        "oauth_families": purge(
            OAuthFamily, [OAuthFamily.organisation_id, OAuthFamily.id], OAuthFamily.expires_at < now, most
        ),
        # Both those of people and those of addresses that nobody has, else what is forgotten would tell them apart.
        "failure_counts": purge(
            FailureCount,
            [FailureCount.user_id, FailureCount.kind, FailureCount.device_id],
            (FailureCount.failed_at < old) & (FailureCount.failures < STOP),
            most,
        ),
        "sessions": purge(
            PersonSession, [PersonSession.user_id, PersonSession.id], PersonSession.expires_at < now - kept, most
        ),
        "invitations": purge(
            Invitation, [Invitation.organisation_id, Invitation.id], Invitation.expires_at < now - kept, most
        ),
        "mails": purge(Mail, [Mail.owner_id, Mail.id], Mail.created_at < old, most),
        "logout_notices": purge(
            LogoutNotice,
            [LogoutNotice.organisation_id, LogoutNotice.id],
            LogoutNotice.created_at < old,
            most,
        ),
    }
