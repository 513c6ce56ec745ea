"""The authorization endpoint: what a client asks a person for, what stands in the way, and the answer to the client.

Nothing here knows pages: the steps that people have to take are told as values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from authlib.oauth2.rfc6749.errors import AccessDeniedError, InvalidRequestError, OAuth2Error
from sqlalchemy.orm import Session

from app.auth.people import Person
from app.domain import redirects
from app.domain.assurance import TWO_FACTORS, assurance
from app.domain.audit import Actor, Event
from app.domain.ids import encode
from app.domain.json_text import BadJson, read_object
from app.domain.scopes import OpenIdScope, split
from app.features.audit.operations import record
from app.features.oauth import families, openid, queries
from app.features.oauth.clients import GrantType, client_target
from app.features.oauth.families import CODE_LIFETIME, NewCode, NewFamily
from app.features.oauth.grants import ByCode, OnlyS256
from app.features.oauth.openid import PROMPTS
from app.features.oauth.parameters import Asked
from app.features.oauth.server import Client, Server, Surroundings, require_once
from app.features.people import queries as people
from app.kit.clock import utc_now
from app.kit.errors import Kind, Problem
from app.kit.token_keys import BadToken

MAX_NONCE = 512
MAX_AGE_DIGITS = 9
NOT_TAKEN = ("request", "request_uri", "registration")
NOT_OURS = "{what}; nobody is sent on. Tell whoever runs the program that led you here"
CLAIM_PARTS = frozenset({"userinfo", "id_token"})


class Said(Enum):
    """What a person said on the page that asks."""

    nothing = "nothing"
    allow = "allow"
    deny = "deny"


@dataclass(frozen=True, slots=True)
class Assurance:
    """How sure the client wants it to be who somebody is: any of these levels will do, none is any."""

    levels: frozenset[str] = frozenset()
    is_essential: bool = False

    def is_met(self, person: Person) -> bool:
        """Whether the person has signed in so."""
        return not self.levels or assurance(person.methods) in self.levels


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for, with nothing wrong in it."""

    client: Client
    redirect_uri: str
    scopes: Sequence[str]
    challenge: str
    state: str | None
    nonce: str | None
    prompts: frozenset[str]
    max_age: int | None
    hint: str | None
    claims: dict[str, Any] | None
    assurance: Assurance

    @property
    def to_allow(self) -> list[str]:
        """What the person has to allow: the scopes, and those of which claims are asked for by name."""
        return list(dict.fromkeys([*self.scopes, *openid.scopes_of(self.claims)]))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is at the browser. `asked_before` is when they had shown themselves when they were asked to do so anew.

    None there is that they were not asked. `lacks_factor` is whether an organisation demands one that they have not.
    """

    person: Person | None
    said: Said = Said.nothing
    asked_before: float | None = None
    lacks_factor: bool = False


@dataclass(frozen=True, slots=True)
class SignIn:
    """The person has to sign in, or, being signed in, to show once more that it is them."""

    again: bool


@dataclass(frozen=True, slots=True)
class Enrol:
    """The person has to add a second factor first."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The person has to be asked."""

    wish: Wish
    organisation: str


@dataclass(frozen=True, slots=True)
class GoTo:
    """The browser goes back to the client, with a code or with an error."""

    uri: str


Step = SignIn | Enrol | Ask | GoTo


class _Refused(Exception):
    """The client is told an error that Authlib has no class for."""

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.description = description


def proceed(db: Session, surroundings: Surroundings, asked: Asked, visitor: Visitor) -> Step:
    """The next step for this request. Problem `invalid_request` where nobody may be sent to the address it names."""
    server = Server(db, surroundings)
    server.register_grant(ByCode, [OnlyS256()])
    client, uri = _where_to(server, asked)
    try:
        wish = _read(server, asked, client, uri)
        return _step(server, wish, visitor)
    except OAuth2Error as error:
        told = [("error", str(error.error)), ("error_description", str(error.description or ""))]
    except _Refused as error:
        told = [("error", error.error), ("error_description", error.description)]
    return _back(surroundings.issuer, uri, asked.payload.data.get("state"), told)


def _where_to(server: Server, asked: Asked) -> tuple[Client, str]:
    """The client, and the address of its own to which the answer goes."""
    sent = asked.payload
    if any(len(sent.datalist.get(name, ())) > 1 for name in ("client_id", "redirect_uri")):
        raise _stop("The program that led you here says twice who it is, or where to go")
    client = server.query_client(sent.client_id or "")
    if client is None:
        raise _stop("The program that led you here is not known")
    uri = sent.redirect_uri
    if uri is None or not client.check_redirect_uri(uri):
        raise _stop("The address to which you would be sent is not one of the program's")
    return client, uri


def _read(server: Server, asked: Asked, client: Client, uri: str) -> Wish:
    require_once(asked)
    sent = asked.payload.data
    for name in NOT_TAKEN:
        if name in sent:
            raise _Refused(f"{name}_not_supported")
    if not asked.payload.response_type:
        raise InvalidRequestError("Missing 'response_type' in request.")
    if sent.get("response_mode", "query") != "query":
        raise InvalidRequestError("The answer comes in the query alone")
    server.get_consent_grant(asked)
    return Wish(
        client=client,
        redirect_uri=uri,
        scopes=_scopes(client, asked),
        challenge=sent["code_challenge"],
        state=sent.get("state"),
        nonce=_nonce(sent),
        prompts=_prompts(sent),
        max_age=_max_age(sent),
        hint=sent.get("id_token_hint"),
        claims=(claims := openid.within(_claims(sent), client.row.scopes)),
        assurance=_assurance(sent, claims),
    )


def _scopes(client: Client, asked: Asked) -> list[str]:
    scopes: list[str] = split(asked.scope)
    # Without refresh tokens there is nothing to keep when the session is over.
    renewed = client.check_grant_type(GrantType.refresh_token)
    return [one for one in scopes if renewed or one != OpenIdScope.offline_access]


def _nonce(sent: Mapping[str, str]) -> str | None:
    nonce = sent.get("nonce")
    if nonce is not None and not (len(nonce) <= MAX_NONCE and nonce.isprintable()):
        raise InvalidRequestError("The parameter 'nonce' is too long, or does not print")
    return nonce


def _prompts(sent: Mapping[str, str]) -> frozenset[str]:
    prompts = frozenset(split(sent.get("prompt")))
    if prompts - set(PROMPTS) or ("none" in prompts and len(prompts) > 1):
        raise InvalidRequestError("The parameter 'prompt' is none, or login, consent or both")
    return prompts


def _max_age(sent: Mapping[str, str]) -> int | None:
    text = sent.get("max_age")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_AGE_DIGITS):
        raise InvalidRequestError("The parameter 'max_age' is a number of seconds")
    return int(text)


def _claims(sent: Mapping[str, str]) -> dict[str, Any] | None:
    text = sent.get("claims")
    if text is None:
        return None
    try:
        found = read_object(text.encode(), raw=frozenset()).values
    except (BadJson, UnicodeEncodeError):
        raise InvalidRequestError("The parameter 'claims' is no JSON object") from None
    known = {name: value for name, value in found.items() if name in CLAIM_PARTS}
    if not all(isinstance(one, dict) for one in known.values()):
        raise InvalidRequestError("The parameter 'claims' holds objects")
    return known


def _assurance(sent: Mapping[str, str], claims: Mapping[str, Any] | None) -> Assurance:
    """What `acr_values` asks for if that can be, or the claim `acr` at any rate (OpenID Connect Core 1.0, 5.5.1.1)."""
    named = ((claims or {}).get("id_token") or {}).get("acr")
    if isinstance(named, dict) and named.get("essential") is True:
        values = named.get("values", [named.get("value")])
        levels = frozenset(one for one in values if isinstance(one, str)) if isinstance(values, list) else frozenset()
        return Assurance(levels, is_essential=True)
    return Assurance(frozenset(split(sent.get("acr_values"))))


def _step(server: Server, wish: Wish, visitor: Visitor) -> Step:
    person = visitor.person
    if person is None or _has_to_show(wish, person, visitor.asked_before):
        return _unless_silent(wish, "login_required", SignIn(again=person is not None))
    _require_the_one_who_is_meant(server, wish, person)
    if visitor.lacks_factor:
        return _unless_silent(wish, "interaction_required", Enrol())
    if wish.assurance.is_essential and not wish.assurance.is_met(person):
        raise _Refused("unmet_authentication_requirements")
    if visitor.said is Said.deny:
        raise AccessDeniedError
    if visitor.said is Said.nothing and _has_to_be_asked(server, wish, person):
        return _unless_silent(wish, "consent_required", Ask(wish, _name_of(server, wish)))
    return _allow(server, wish, person, visitor.said)


def _unless_silent(wish: Wish, error: str, step: Step) -> Step:
    if "none" in wish.prompts:
        raise _Refused(error)
    return step


def _require_the_one_who_is_meant(server: Server, wish: Wish, person: Person) -> None:
    if wish.hint is not None and _hinted(server, wish.hint) != encode("user", person.user_id):
        raise _Refused("login_required", "Somebody else is signed in")
    if person.impersonator is not None or not _belongs(server, wish, person):
        raise AccessDeniedError("Whoever is signed in may not allow this")


def _has_to_show(wish: Wish, person: Person, asked_before: float | None) -> bool:
    """Whether the person has to show anew that it is them."""
    shown = person.reauthenticated_at.timestamp()
    if asked_before is not None and shown > asked_before:
        return False
    age = (utc_now() - person.reauthenticated_at).total_seconds()
    is_too_weak = person.has_mfa and TWO_FACTORS in wish.assurance.levels and not wish.assurance.is_met(person)
    return "login" in wish.prompts or is_too_weak or (wish.max_age is not None and age > wish.max_age)


def _hinted(server: Server, hint: str) -> str | None:
    """Whom an ID token of ours names, that may be over by now; None for what is none."""
    keys, issuer = server.surroundings.keys, server.surroundings.issuer
    try:
        claims = keys.verify(hint, ("jwt",), utc_now())
    except BadToken:
        return None
    return str(claims.get("sub")) if claims.get("iss") == issuer else None


def _belongs(server: Server, wish: Wish, person: Person) -> bool:
    organisation_id = wish.client.row.organisation_id
    return server.db.scalars(people.membership(organisation_id, person.user_id)).first() is not None


def _name_of(server: Server, wish: Wish) -> str:
    return server.db.scalars(queries.organisation_name(wish.client.row.organisation_id)).one()


def _has_to_be_asked(server: Server, wish: Wish, person: Person) -> bool:
    if "consent" in wish.prompts:
        return True
    return not wish.client.row.first_party and not set(wish.to_allow) <= _allowed(server, wish, person)


def _allowed(server: Server, wish: Wish, person: Person) -> set[str]:
    """What the person allowed the client before."""
    row = wish.client.row
    found = server.db.scalars(queries.consented(row.organisation_id, person.user_id, row.id)).one_or_none()
    return set(found or ())


def _allow(server: Server, wish: Wish, person: Person, said: Said) -> GoTo:
    db, row = server.db, wish.client.row
    is_offline = OpenIdScope.offline_access in wish.scopes
    if said is Said.allow:
        scopes = sorted(_allowed(server, wish, person).union(wish.to_allow))
        db.execute(queries.consent(row.organisation_id, person.user_id, row.id, scopes))
    new = NewFamily(
        wish.scopes,
        utc_now() + CODE_LIFETIME,
        user_id=person.user_id,
        session_id=None if is_offline else person.session_id,
        began_in=person.session_id,
        session_version=person.session_version,
        methods=person.methods,
        authenticated_at=person.reauthenticated_at,
        claims=wish.claims,
    )
    family = families.begin(db, row, new)
    code = families.add_code(db, family, NewCode(wish.redirect_uri, wish.challenge, wish.nonce))
    user = encode("user", person.user_id)
    details = {"scopes": list(wish.scopes), "family": family.id.hex, "asked": said is Said.allow}
    actor, target = Actor("user", user, person.email), client_target(row)
    record(
        db, Event(row.organisation_id, "oauth.authorized", actor, target, server.surroundings.where, details=details)
    )
    return _back(server.surroundings.issuer, wish.redirect_uri, wish.state, [("code", code)])


def _back(issuer: str, uri: str, state: str | None, told: Sequence[tuple[str, str]]) -> GoTo:
    """Back to the client, which hears its own state, byte for byte, and who answers (RFC 9207)."""
    mine = [("state", state)] if state is not None else []
    return GoTo(
        redirects.with_parameters(uri, [*((name, value) for name, value in told if value), *mine, ("iss", issuer)])
    )


def _stop(what: str) -> Problem:
    return Problem(Kind.bad_request, "invalid_request", NOT_OURS.format(what=what))
