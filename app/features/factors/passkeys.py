"""Passkeys by WebAuthn: what a browser is asked, and whether its answer is true."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import webauthn
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from app.domain.hosts import host_name
from app.models import Passkey

NAME = "Postrider"
CHALLENGE_BYTES = 32
VERIFIED = UserVerificationRequirement.REQUIRED
REFUSED = (WebAuthnException, ValueError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who asks for passkeys: the installation, as its public URL names it."""

    id: str
    origin: str

    @classmethod
    def of(cls, public_url: str) -> Self:
        """The one behind a public URL."""
        parts = urlsplit(public_url)
        return cls(host_name(parts.netloc) or "", f"{parts.scheme}://{parts.netloc}")

    def creation(self, challenge: bytes, user_id: UUID, email: str, known: Sequence[Passkey]) -> str:
        """What a browser is asked for a new passkey, as JSON; a device that holds one of those known makes no other."""
        options = webauthn.generate_registration_options(
            rp_id=self.id,
            rp_name=NAME,
            user_name=email,
            user_id=user_id.bytes,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=VERIFIED
            ),
            exclude_credentials=_described(known),
        )
        return options_to_json(options)

    def request(self, challenge: bytes, known: Sequence[Passkey] = ()) -> str:
        """What a browser is asked for a proof, as JSON; without a known passkey, for one of any person."""
        options = webauthn.generate_authentication_options(
            rp_id=self.id, challenge=challenge, allow_credentials=_described(known), user_verification=VERIFIED
        )
        return options_to_json(options)

    def created(self, challenge: bytes, credential: dict[str, Any]) -> VerifiedRegistration | None:
        """The passkey that was made; None when the answer is not true."""
        try:
            return webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except REFUSED:
            return None

    def proven(self, challenge: bytes, credential: dict[str, Any], passkey: Passkey) -> VerifiedAuthentication | None:
        """What the passkey's holder proved; None when the answer is not true, or the signature counter stands."""
        try:
            return webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except REFUSED:
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser answered, not verified yet. `user_handle` is whose passkey it says that it is."""

    credential: dict[str, Any]
    credential_id: bytes
    user_handle: UUID | None
    transports: list[str]

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The answer in a form's field; None for anything else."""
        try:
            credential = json.loads(text)
            response = credential["response"]
            handle = response.get("userHandle")
            user_handle = None if handle is None else UUID(bytes=base64url_to_bytes(handle))
            transports = [str(one) for one in response.get("transports", []) if one in _TRANSPORTS]
            return cls(credential, base64url_to_bytes(credential["rawId"]), user_handle, transports)
        except (*REFUSED, KeyError, AttributeError):
            return None


_TRANSPORTS = frozenset(one.value for one in AuthenticatorTransport)


def _described(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=one.credential_id, transports=[AuthenticatorTransport(way) for way in one.transports] or None
        )
        for one in known
    ]
