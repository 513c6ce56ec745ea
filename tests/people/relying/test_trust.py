"""What a provider may not do: speak for others, mix up whose answer it is, or be somebody else's."""

import asyncio
import secrets
import time

import pytest
from aiohttp import web
from joserfc.jwk import OctKey
from sqlalchemy import delete

from app.domain.permissions import Role
from app.kit.clock import new_id, utc_now
from app.models import Membership, Totp
from tests.api.client import new_tenant
from tests.people.relying.idp import Claims, Person, Provider, new_key, public, running, sign
from tests.people.relying.world import Relying
from tests.people.visitor import Known, location, new_person

refusals = pytest.mark.acceptance("I06")


@pytest.mark.acceptance("I07")
async def test_an_answer_that_names_another_issuer_is_refused(relying: Relying) -> None:
    relying.assert_refused(await relying.sign_in(iss="https://other.example.com"), "issuer_mixed_up")
    assert relying.provider.count("/token") == 0


@pytest.mark.acceptance("I07")
async def test_a_provider_that_names_itself_does_so_in_every_answer(relying: Relying) -> None:
    relying.assert_refused(await relying.sign_in(iss=None), "issuer_missing")


@pytest.mark.acceptance("I07")
async def test_an_answer_that_comes_to_the_address_of_another_provider_is_refused(
    relying: Relying,
) -> None:
    url = relying.provider.authorize(await relying.leave())
    other = await _another(relying)
    reply = await relying.come_back(url.replace(relying.id, other.id))
    assert (reply.status, relying.is_signed_in()) == (401, False)
    assert relying.provider.count("/token") == 0


async def test_a_provider_that_never_names_itself_is_told_apart_by_its_own_address(relying: Relying) -> None:
    relying.provider.metadata = {"authorization_response_iss_parameter_supported": False}
    assert (await relying.sign_in(iss=None)).status == 303


@refusals
@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA"])
async def test_other_good_algorithms_are_taken(relying: Relying, algorithm: str) -> None:
    relying.provider.key, relying.provider.algorithm = new_key(algorithm), algorithm
    if algorithm == "EdDSA":
        relying.provider.change = lambda claims: claims.pop("at_hash")
    assert (await relying.sign_in()).status == 303
    assert relying.is_signed_in()


@refusals
async def test_a_secret_that_both_know_signs_nothing_even_when_it_is_listed(relying: Relying) -> None:
    key = OctKey.import_key((relying.provider.secret * 2).encode())
    relying.provider.metadata = {"id_token_signing_alg_values_supported": ["HS256"]}
    relying.provider.signed = lambda claims: sign(claims, key, "HS256", kid=None)
    relying.assert_refused(await relying.sign_in(), "algorithm_refused")


@refusals
async def test_two_keys_of_one_name_are_refused(relying: Relying) -> None:
    twin = new_key(kid=relying.provider.key.kid)
    relying.provider.published = [public(relying.provider.key), public(twin)]
    relying.assert_refused(await relying.sign_in(), "key_ambiguous")


@refusals
async def test_a_key_in_the_tokens_own_header_counts_for_nothing(relying: Relying) -> None:
    own, there = new_key("ES256"), f"{relying.provider.issuer}/own"
    relying.provider.signed = lambda claims: sign(claims, own, "ES256", jwk=public(own), jku=there)
    relying.assert_refused(await relying.sign_in(), "key_unknown")
    assert relying.provider.count("/own") == 0


@refusals
async def test_keys_that_are_weak_or_for_encryption_are_none(relying: Relying) -> None:
    relying.provider.published = [{**public(relying.provider.key), "use": "enc"}]
    relying.assert_refused(await relying.sign_in(), "key_unknown")


@refusals
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "token_expired"),
        ({"exp": None}, "times_missing"),
        ({"exp": "soon"}, "times_missing"),
        ({"iat": 1}, "token_expired"),
        ({"iat": 2**40, "exp": 2**41}, "token_early"),
        ({"nbf": 2**40}, "token_early"),
        ({"nonce": None}, "nonce_wrong"),
        ({"aud": ["postrider", "somebody-else"]}, "audience_wrong"),
        ({"aud": None}, "audience_wrong"),
        ({"aud": []}, "audience_wrong"),
        ({"azp": "somebody-else"}, "audience_wrong"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "access_token_wrong"),
        ({"sub": ""}, "subject_missing"),
        ({"sub": 7}, "subject_missing"),
        ({"sub": "x" * 256}, "subject_missing"),
        ({"iss": ["a"]}, "issuer_wrong"),
    ],
)
async def test_a_claim_that_is_wrong_is_refused(relying: Relying, claims: Claims, reason: str) -> None:
    relying.provider.change = lambda found: found.update(claims)
    relying.assert_refused(await relying.sign_in(), reason)


@refusals
@pytest.mark.parametrize("type_", ["at+jwt", "logout+jwt"])
async def test_a_token_of_another_type_is_refused(relying: Relying, type_: str) -> None:
    relying.provider.header = {"typ": type_}
    relying.assert_refused(await relying.sign_in(), "type_refused")


@refusals
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"id_token": "a.b.c"}, "token_malformed"),
        ({"id_token": "x" * 100_000}, "token_malformed"),
        ({"id_token": None}, "token_malformed"),
        ({"id_token": ["a"]}, "token_malformed"),
        ({"token_type": "mac"}, "token_malformed"),
        ({"access_token": None}, "token_malformed"),
        ({"expires_in": {"a": 1}}, "token_malformed"),
        ({"error": "invalid_grant"}, "code_refused"),
    ],
)
async def test_malformed_tokens_are_refused(relying: Relying, answer: Claims, reason: str) -> None:
    relying.provider.token = lambda found: found.update(answer)
    relying.assert_refused(await relying.sign_in(), reason)


async def test_an_error_of_the_provider_ends_the_sign_in(relying: Relying) -> None:
    relying.assert_refused(await relying.sign_in(code=None, error="access_denied"), "provider_refused")


async def test_an_answer_that_says_something_twice_is_refused(relying: Relying) -> None:
    url = relying.provider.authorize(await relying.leave())
    relying.assert_refused(await relying.come_back(f"{url}&code=another"), "answer_malformed")


async def test_a_state_is_good_once(relying: Relying) -> None:
    url = relying.provider.authorize(await relying.leave())
    assert (await relying.come_back(url)).status == 303
    relying.visitor.cookies.pop("__Host-postrider_session")
    reply = await relying.come_back(url)
    assert (reply.status, relying.is_signed_in(), relying.reasons()) == (401, False, ["state_used"])


async def test_a_state_is_good_in_the_browser_that_began(relying: Relying) -> None:
    url = relying.provider.authorize(await relying.leave())
    victim = relying.visitor.another()
    await victim.get("/sign-in")
    assert (await relying.come_back(url, victim)).status == 401
    assert (relying.is_signed_in(victim), relying.provider.count("/token")) == (False, 0)


@pytest.mark.parametrize("state", ["", "made-up"])
async def test_a_state_that_was_not_made_here_is_refused(relying: Relying, state: str) -> None:
    assert (await relying.sign_in(state=state)).status == 401
    assert not relying.is_signed_in()


@pytest.mark.acceptance("I10")
async def test_a_provider_cannot_vouch_for_addresses_of_a_domain_that_is_not_proved(relying: Relying) -> None:
    relying.provider.person.email = "boss@other.example.com"
    relying.assert_refused(await relying.sign_in(), "domain_not_verified", 403)
    assert relying.person() is None


@pytest.mark.acceptance("I10")
async def test_a_provider_cannot_vouch_for_people_of_another_organisation(relying: Relying) -> None:
    other = await _another(relying)
    theirs = new_person(relying.sessions, other.tenant.organisation_id)
    relying.provider.person.email = theirs.email
    assert (await relying.sign_in()).status == 403
    assert not relying.is_signed_in()
    relying.provider.person = Person(secrets.token_hex(4), f"x@{other.provider.person.email.partition('@')[2]}")
    relying.assert_refused(await relying.sign_in(), "domain_not_verified", 403)


@pytest.mark.acceptance("I10")
@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_address_that_the_provider_has_not_verified_is_refused(relying: Relying, verified: object) -> None:
    relying.provider.person.email_verified = verified
    relying.assert_refused(await relying.sign_in(), "email_not_verified", 403)


@pytest.mark.acceptance("I09")
async def test_people_are_known_by_their_subject_whatever_their_address_becomes(relying: Relying) -> None:
    await relying.sign_in()
    before = relying.person()
    relying.provider.person.email = "renamed@other.example.com"
    somebody = relying.visitor.another()
    await relying.sign_in(somebody)
    assert relying.is_signed_in(somebody)
    assert relying.person() is None
    assert before is not None
    relying.provider.person.email = before.email
    assert len(relying.live()) == 2


@pytest.mark.acceptance("I09")
async def test_another_subject_with_a_known_address_does_not_become_that_person(relying: Relying) -> None:
    await relying.sign_in()
    relying.provider.person = Person("an-impostor", relying.provider.person.email)
    somebody = relying.visitor.another()
    reply = await relying.sign_in(somebody)
    assert (reply.status, location(reply).split("?")[0]) == (303, "/sign-in/provider/link")
    assert not relying.is_signed_in(somebody)
    asked = await somebody.get(location(reply))
    assert (asked.status, location(asked).split("?")[0]) == (303, "/sign-in")


@pytest.mark.acceptance("I09")
async def test_the_same_subject_of_another_issuer_is_somebody_else(relying: Relying) -> None:
    await relying.sign_in()
    async with running(Provider(person=relying.provider.person)) as usurper:
        headers = {"if-match": "*"}
        changed = await relying.api.call("PATCH", relying.path, {"issuer": usurper.issuer}, headers=headers)
        assert changed.status == 200, changed.raw
        assert relying.live() == []
        relying.provider = usurper
        somebody = relying.visitor.another()
        reply = await relying.sign_in(somebody)
        assert (reply.status, location(reply).split("?")[0]) == (303, "/sign-in/provider/link")
        assert not relying.is_signed_in(somebody)


async def test_what_a_provider_calls_people_is_one_line_that_is_not_too_long(relying: Relying) -> None:
    relying.provider.person.name = "Pat\r\nExample\0" + "x" * 1000
    relying.provider.session = "sid\0"
    assert (await relying.sign_in()).status == 303
    found = relying.person()
    assert found is not None
    assert found.name == ("Pat  Example " + "x" * 1000)[:128]
    assert [one.provider_session for one in relying.live()] == [None]


@pytest.mark.acceptance("I09")
async def test_a_person_who_was_known_before_is_joined_after_showing_it(relying: Relying) -> None:
    known = _known(relying)
    reply = await relying.sign_in()
    assert not relying.is_signed_in()
    link = location(reply)
    await relying.visitor.get(link)
    assert (await relying.visitor.sign_in(known.email)).status == 303
    shown = await relying.visitor.get(link)
    assert (shown.status, known.email in shown.raw.decode()) == (200, True)
    done = await relying.visitor.submit("/sign-in/provider/link", at=link)
    assert (done.status, location(done)) == (303, "/account")
    assert len(relying.events("provider.linked")) == 1
    again = relying.visitor.another()
    await relying.sign_in(again)
    assert relying.is_signed_in(again)
    assert {one.user_id for one in relying.live()} == {known.id}


@pytest.mark.acceptance("I09")
async def test_nobody_else_can_take_an_offer_to_join(relying: Relying) -> None:
    _known(relying)
    link = location(await relying.sign_in())
    somebody = new_person(relying.sessions, relying.tenant.organisation_id)
    await relying.visitor.sign_in(somebody.email)
    assert (await relying.visitor.get(link)).status == 403
    stolen = relying.visitor.another()
    await stolen.get("/sign-in")
    await stolen.sign_in(somebody.email)
    assert (await stolen.get(link)).status == 403
    assert relying.events("provider.linked") == []


@pytest.mark.acceptance("I08")
async def test_unknown_keys_do_not_make_us_ask_again_and_again(relying: Relying) -> None:
    await relying.sign_in()
    for _ in range(8):
        relying.provider.signed = lambda claims: sign(claims, new_key())
        assert (await relying.sign_in(relying.visitor.another())).status == 401
    assert relying.provider.count("/jwks") == 6


async def test_a_provider_that_is_disabled_is_not_there(relying: Relying) -> None:
    shown = await relying.api.get(relying.path)
    url = relying.provider.authorize(await relying.leave())
    changed = await relying.api.call(
        "PATCH", relying.path, {"enabled": False}, headers={"if-match": shown.headers["etag"]}
    )
    assert (changed.status, changed.body["enabled"]) == (200, False)
    assert (await relying.visitor.get(f"/sign-in/provider/start?provider={relying.id}")).status == 404
    assert (await relying.come_back(url)).status == 404
    assert not relying.is_signed_in()


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_whoever_came_by_a_provider_goes_with_it(relying: Relying, how: str) -> None:
    await relying.sign_in()
    assert len(relying.live()) == 1
    if how == "deleted":
        assert (await relying.api.delete(relying.path)).status == 204
    else:
        headers = {"if-match": "*"}
        assert (await relying.api.call("PATCH", relying.path, {"enabled": False}, headers=headers)).status == 200
    assert relying.live() == []
    assert (await relying.visitor.get("/account")).status == 303
    assert len(relying.events("session.ended")) == 1


@pytest.mark.acceptance("I08")
async def test_logout_tokens_that_anybody_may_send_do_not_use_up_what_sign_ins_need(relying: Relying) -> None:
    await relying.sign_in()
    path = f"/sign-in/provider/{relying.id}/logout"
    for _ in range(8):
        token = sign({}, new_key())
        assert (await relying.visitor.post(path, {"logout_token": token})).status == 400
    assert relying.provider.count("/jwks") == 6
    relying.provider.key = new_key()
    somebody = relying.visitor.another()
    await relying.sign_in(somebody)
    assert relying.is_signed_in(somebody)


async def test_whoever_waits_for_a_provider_that_fails_does_not_ask_again(relying: Relying) -> None:
    async def failing(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response(status=500)

    relying.provider.instead["/.well-known/openid-configuration"] = failing
    start = f"/sign-in/provider/start?provider={relying.id}"
    replies = await asyncio.gather(*(relying.visitor.another().get(start) for _ in range(5)))
    assert [one.status for one in replies] == [502] * 5
    assert relying.provider.count("/.well-known/openid-configuration") == 1


async def test_whoever_was_removed_does_not_come_back_by_the_provider(relying: Relying) -> None:
    await relying.sign_in()
    with relying.sessions.begin() as db:
        db.execute(delete(Membership).where(Membership.organisation_id == relying.tenant.organisation_id))
    somebody = relying.visitor.another()
    assert (await relying.sign_in(somebody)).status == 403
    assert (relying.is_signed_in(somebody), relying.reasons()) == (False, ["not_a_member"])


async def test_a_second_factor_of_ours_is_asked_for_whatever_the_provider_says(relying: Relying) -> None:
    await relying.sign_in()
    person = relying.person()
    assert person is not None
    with relying.sessions.begin() as db:
        db.add(Totp(user_id=person.id, id=new_id(), sealed=b"-", confirmed_at=utc_now()))
    relying.provider.change = lambda claims: claims.update(amr=["pwd", "otp", "mfa"])
    somebody = relying.visitor.another()
    reply = await relying.sign_in(somebody)
    assert (location(reply), relying.is_signed_in(somebody)) == ("/sign-in/second-step", False)


async def test_a_logout_token_is_good_once(relying: Relying) -> None:
    await relying.sign_in()
    token = relying.provider.logout_token()
    path = f"/sign-in/provider/{relying.id}/logout"
    assert (await relying.visitor.post(path, {"logout_token": token})).status == 200
    await relying.sign_in(relying.visitor.another())
    assert (await relying.visitor.post(path, {"logout_token": token})).status == 400
    assert (len(relying.live()), relying.reasons()) == (1, ["token_used"])


@pytest.mark.parametrize(
    ("claims", "ends"),
    [({"sub": None}, 1), ({"sid": None}, 2), ({"sid": "other"}, 0), ({"sub": "other"}, 0)],
    ids=["by session", "by person", "another session", "another person"],
)
async def test_a_logout_ends_what_it_names_and_nothing_else(relying: Relying, claims: Claims, ends: int) -> None:
    await relying.sign_in()
    relying.provider.session = "sid-2"
    await relying.sign_in(relying.visitor.another())

    def change(found: Claims) -> None:
        found.update(claims)
        for name in [name for name, value in claims.items() if value is None]:
            del found[name]

    token = relying.provider.logout_token(change)
    path = f"/sign-in/provider/{relying.id}/logout"
    assert (await relying.visitor.post(path, {"logout_token": token})).status == 200
    assert len(relying.live()) == 2 - ends


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sub": None, "sid": None}, "subject_missing"),
        ({"jti": None}, "id_missing"),
        ({"iat": None}, "times_missing"),
        ({"exp": None}, "times_missing"),
        ({"exp": int(time.time()) - 120}, "token_expired"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": "yes"}}, "event_missing"),
    ],
)
async def test_a_logout_token_that_is_wrong_ends_nothing(relying: Relying, change: Claims, reason: str) -> None:
    await relying.sign_in()

    def changed(found: Claims) -> None:
        found.update(change)
        for name in [name for name, value in change.items() if value is None]:
            del found[name]

    path = f"/sign-in/provider/{relying.id}/logout"
    reply = await relying.visitor.post(path, {"logout_token": relying.provider.logout_token(changed)})
    assert (reply.status, reply.headers["cache-control"]) == (400, "no-store")
    assert (len(relying.live()), relying.reasons()) == (1, [reason])


async def test_an_id_token_is_no_logout_token(relying: Relying) -> None:
    await relying.sign_in()
    token = sign(relying.provider.claims("n", "a"), relying.provider.key)
    path = f"/sign-in/provider/{relying.id}/logout"
    assert (await relying.visitor.post(path, {"logout_token": token})).status == 400
    assert len(relying.live()) == 1


def _known(relying: Relying) -> Known:
    """Somebody with a password and the address of whom the provider knows, of another organisation."""
    elsewhere = new_tenant(relying.sessions).organisation_id
    return new_person(relying.sessions, elsewhere, Role.viewer, email=relying.provider.person.email)


async def _another(relying: Relying) -> Relying:
    """Another organisation with a provider and a domain of its own, at the same server."""
    tenant = new_tenant(relying.sessions)
    domain = f"d{secrets.token_hex(4)}.test"
    provider = Provider(issuer=relying.provider.issuer, person=Person(secrets.token_hex(4), f"pat@{domain}"))
    api = relying.api.with_credential(tenant.key)
    other = Relying(api, relying.sessions, tenant, provider, relying.visitor.another(), relying.public_url)
    await other.set_up()
    return other
