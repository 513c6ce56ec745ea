"""Postrider as the client of a provider: Authlib speaks OAuth, over the one HTTP client that judges where it goes.

What Authlib leaves open is closed here: whose metadata it is, which algorithms and keys count, whose answer came back,
and that all of it speaks of one person.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from app.domain.destinations import Destinations
from app.features.identity_providers import tokens
from app.features.identity_providers.accounts import Account, Vouched
from app.features.identity_providers.errors import refused, unreachable
from app.features.identity_providers.flows import Flow
from app.features.identity_providers.metadata import Metadata, discovery_url, read_metadata, read_object
from app.features.identity_providers.tokens import Claims, Expected, Header, Key, Keys
from app.kit.clock import utc_now
from app.kit.egress import Egress, Outgoing
from app.kit.egress.transport import EgressRefused, EgressTransport, RefusedStatus, Response
from app.kit.errors import Problem

BODY_BYTES = 256 * 1024
OLDEST_SECONDS = 600.0
FORCED_AT_MOST, FORCED_WITHIN_SECONDS = 5, 60.0
FAILED_SECONDS = 1.0
SIGN_IN, LOGOUT = "id_token", "logout_token"
MOST_PROVIDERS = 1000
MOST_NAME = 128
OK = 200
JSON = {"accept": "application/json"}
MALFORMED = (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)


def _times() -> deque[float]:
    return deque(maxlen=FORCED_AT_MOST)


@dataclass(slots=True)
class _Known:
    """What is remembered of one provider, and when it was read."""

    metadata: Metadata | None = None
    metadata_at: float = 0.0
    keys: Keys | None = None
    keys_at: float = 0.0
    failure: Problem | None = None
    failed_at: float = 0.0
    forced: dict[str, deque[float]] = field(default_factory=lambda: {SIGN_IN: _times(), LOGOUT: _times()})
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Providers:
    """Asks providers; one for each process. What a provider says of itself is remembered for ten minutes.

    A key that is not known makes its keys be read anew before that, but not more often than five times a minute; logout
    tokens, which anybody may send, are counted apart from sign-ins. Who waits for a provider that then fails does not
    ask it once more.
    """

    def __init__(self, egress: Egress, rules: Destinations) -> None:
        self._egress = egress
        self._rules = rules
        self._known: OrderedDict[tuple[UUID, UUID, str], _Known] = OrderedDict()

    async def authorization_url(self, account: Account, flow: Flow, state: str, redirect: str, hint: str) -> str:
        """Where the person goes to sign in. Raises Problem `unauthenticated`, `bad_gateway`."""
        metadata = await self._metadata(account)
        async with self._client(account, redirect) as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=state,
                code_verifier=flow.verifier,
                nonce=flow.nonce,
                login_hint=hint or None,
            )
        return str(url)

    async def redeem(self, account: Account, flow: Flow, answer: Mapping[str, str], redirect: str) -> Vouched:
        """Whom the provider vouches for, by the answer that it sent the browser back with.

        Raises Problem `unauthenticated` for whatever is not believed, `bad_gateway` where there is no answer.
        """
        metadata = await self._metadata(account)
        code = _code(answer, account, metadata)
        async with self._client(account, redirect) as client:
            given = await _fetch_token(client, metadata, code, flow)
            claims = await self._id_token(account, given, flow)
            more = await _userinfo(client, metadata, claims["sub"])
        return _vouched(claims, more)

    async def logged_out(self, account: Account, token: str) -> Claims:
        """What a logout token says that the provider has signed for us. Raises Problem as `redeem` does."""
        header = tokens.header_of(token, LOGOUT)
        claims = tokens.claims_of(token, await self._key(account, header, LOGOUT), header)
        tokens.check_logout_token(claims, _expected(account))
        return claims

    async def _id_token(self, account: Account, given: Mapping[str, Any], flow: Flow) -> Claims:
        token = given["id_token"]
        header = tokens.header_of(token, SIGN_IN)
        claims = tokens.claims_of(token, await self._key(account, header, SIGN_IN), header)
        tokens.check_id_token(claims, _expected(account), flow.nonce, given["access_token"], header)
        return claims

    async def _key(self, account: Account, header: Header, use: str) -> Key:
        """The key that signed. Raises Problem `unauthenticated`, `bad_gateway`."""
        metadata = await self._metadata(account)
        key = (await self._keys(account, metadata)).choose(header)
        if key is None:
            key = (await self._keys(account, metadata, anew=use)).choose(header)
        if key is None:
            raise refused("key_unknown", "its token is signed by a key that it does not publish")
        return key

    async def _metadata(self, account: Account) -> Metadata:
        known = self._of(account)
        async with known.lock:
            if known.metadata is None or monotonic() - known.metadata_at > OLDEST_SECONDS:
                known.metadata = await self._discovered(account, known)
                known.metadata_at = monotonic()
            return known.metadata

    async def _discovered(self, account: Account, known: _Known) -> Metadata:
        """The metadata as it is now, or the failure of a moment ago."""
        if known.failure is not None and monotonic() - known.failed_at < FAILED_SECONDS:
            raise known.failure.with_traceback(None)
        try:
            document = await self._read(account, discovery_url(account.issuer), "metadata")
            return read_metadata(document, account.issuer, self._rules)
        except Problem as problem:
            known.failure, known.failed_at = problem, monotonic()
            raise

    async def _keys(self, account: Account, metadata: Metadata, *, anew: str | None = None) -> Keys:
        known, now = self._of(account), monotonic()
        async with known.lock:
            fresh = known.keys is not None and now - known.keys_at <= OLDEST_SECONDS
            forced = anew is not None and known.keys_at < now and _may_force(known.forced[anew], now)
            if known.keys is None or not fresh or forced:
                known.keys = Keys(await self._read(account, metadata.jwks_uri, "key set"))
                known.keys_at = monotonic()
            return known.keys

    async def _read(self, account: Account, url: str, what: str) -> Mapping[str, Any]:
        """A JSON object of the provider's. Raises Problem `bad_gateway`."""
        request = Outgoing(url, b"", JSON, account.id, method="GET", body_bytes=BODY_BYTES + 1)
        answer = await self._egress.send(request)
        if answer.failure is not None:
            raise unreachable(f"its {what} could not be read: {answer.detail}")
        if answer.status != OK:
            raise unreachable(f"its {what} came with the status {answer.status}")
        if len(answer.body) > BODY_BYTES:
            raise unreachable(f"its {what} is too large")
        return read_object(answer.body, what)

    def _of(self, account: Account) -> _Known:
        name = (account.organisation_id, account.id, account.issuer)
        found = self._known.setdefault(name, _Known())
        self._known.move_to_end(name)
        if len(self._known) > MOST_PROVIDERS:
            self._known.popitem(last=False)
        return found

    def _client(self, account: Account, redirect: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            account.client_id,
            account.secret,
            token_endpoint_auth_method=account.auth_method,
            scope=account.scopes,
            redirect_uri=redirect,
            code_challenge_method="S256",
            transport=EgressTransport(self._egress, account.id, BODY_BYTES),
            trust_env=False,
            follow_redirects=False,
            timeout=None,
        )


def _may_force(forced: deque[float], now: float) -> bool:
    """Whether keys may be read before their time; counts it."""
    if len(forced) == FORCED_AT_MOST and now - forced[0] < FORCED_WITHIN_SECONDS:
        return False
    forced.append(now)
    return True


def _expected(account: Account) -> Expected:
    return Expected(account.issuer, account.client_id, utc_now())


def _code(answer: Mapping[str, str], account: Account, metadata: Metadata) -> str:
    """The code in an answer, of which it is known whose it is. Raises Problem `unauthenticated`."""
    issuer = answer.get("iss")
    if issuer is None and metadata.names_itself:
        raise refused("issuer_missing", "its answer does not say whose it is")
    if issuer not in {None, account.issuer}:
        raise refused("issuer_mixed_up", "the answer is that of another provider")
    if "error" in answer:
        raise refused("provider_refused", "it did not sign you in")
    if not answer.get("code"):
        raise refused("code_missing", "its answer holds no code")
    return answer["code"]


def _expect_success(answer: Response) -> Response:
    """Tokens come with 200, and whatever does not says why. Raises Problem `bad_gateway`."""
    if answer.status_code != OK and "error" not in read_object(answer.content, "token answer"):
        raise unreachable(f"its tokens came with the status {answer.status_code}")
    return answer


async def _fetch_token(client: AsyncOAuth2Client, metadata: Metadata, code: str, flow: Flow) -> Mapping[str, Any]:
    """The token endpoint's answer. Raises Problem `unauthenticated`, `bad_gateway`."""
    client.register_compliance_hook("access_token_response", _expect_success)
    try:
        given = await client.fetch_token(
            metadata.token_endpoint, grant_type="authorization_code", code=code, code_verifier=flow.verifier
        )
        whole = isinstance(given["access_token"], str) and str(given["token_type"]).lower() == "bearer"
    except EgressRefused as error:
        raise unreachable(f"its tokens could not be fetched: {error.detail}") from None
    except RefusedStatus as error:
        raise unreachable(f"its tokens came with the status {error.response.status_code}") from None
    except AuthlibBaseError:
        raise refused("code_refused", "it gives no tokens for the code that it gave") from None
    except MALFORMED:
        raise refused("token_malformed", "its tokens are malformed") from None
    if not whole or not isinstance(given.get("id_token"), str):
        raise refused("token_malformed", "its tokens are malformed")
    found: Mapping[str, Any] = given
    return found


async def _userinfo(client: AsyncOAuth2Client, metadata: Metadata, subject: str) -> Mapping[str, Any]:
    """What the userinfo endpoint says of the same person; nothing where there is none."""
    if metadata.userinfo_endpoint is None:
        return {}
    try:
        answer = await client.get(metadata.userinfo_endpoint, headers=JSON)
    except EgressRefused as error:
        raise unreachable(f"its userinfo could not be read: {error.detail}") from None
    except (AuthlibBaseError, *MALFORMED):
        raise refused("token_malformed", "its tokens are malformed") from None
    if answer.status_code != OK:
        raise unreachable(f"its userinfo came with the status {answer.status_code}")
    found = read_object(answer.content, "userinfo")
    if found.get("sub") != subject:
        raise refused("userinfo_subject_wrong", "its userinfo is about somebody else")
    return found


def _vouched(claims: Claims, more: Mapping[str, Any]) -> Vouched:
    # An address and whether it was verified are taken from one place, the signed one where it has both.
    said = claims if "email" in claims else more
    email, name, session = said.get("email"), claims.get("name", more.get("name")), claims.get("sid")
    return Vouched(
        subject=tokens.subject_of(claims),
        email=email if isinstance(email, str) else None,
        email_verified=said.get("email_verified") is True,
        name=_spoken(name) if isinstance(name, str) else "",
        session=session if tokens.is_name(session) else None,
    )


def _spoken(name: str) -> str:
    """A person's name in one line of what can be printed, and not too much of it."""
    return "".join(one if one.isprintable() else " " for one in name)[:MOST_NAME].strip()
