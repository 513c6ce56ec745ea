"""Signing in at the provider of one's organisation."""

from tests.metrics import counting
from tests.people.relying.world import Relying, query_of
from tests.people.visitor import location


async def test_whoever_the_provider_vouches_for_becomes_a_member_and_is_signed_in(relying: Relying) -> None:
    reply = await relying.sign_in()
    assert (reply.status, location(reply)) == (303, "/account"), reply.raw
    assert (await relying.visitor.get("/account")).status == 200
    (session,) = relying.live()
    assert (session.methods, session.organisation_id) == (["fed"], relying.tenant.organisation_id)
    assert (session.provider_subject, session.provider_session) == (relying.provider.person.subject, "sid-1")
    assert len(relying.events("provider.person_created")) == 1


async def test_an_address_of_a_proved_domain_leads_to_its_provider(relying: Relying) -> None:
    somebody = f"nobody-knows@{relying.provider.person.email.partition('@')[2]}"
    reply = await relying.visitor.submit("/sign-in", email=somebody, password="")
    assert (reply.status, location(reply).split("?")[0]) == (303, "/sign-in/provider")
    shown = await relying.visitor.get(location(reply))
    assert 'http-equiv="refresh"' in shown.raw.decode()
    url = shown.raw.decode().partition('<a href="/sign-in/provider/start')[2].partition('"')[0].replace("&amp;", "&")
    there = await relying.visitor.get(f"/sign-in/provider/start{url}")
    assert query_of(there.headers["location"])["login_hint"] == somebody


async def test_sign_ins_at_a_provider_are_counted_by_how_they_ended(relying: Relying) -> None:
    good, bad = (
        counting("postrider_sign_ins_total", method="provider", outcome=one) for one in ("signed_in", "failed")
    )
    await relying.visitor.get(f"/sign-in/provider/callback/{relying.id}?state=made-up")
    assert (good.more, bad.more) == (0, 1)
    await relying.sign_in()
    assert (good.more, bad.more) == (1, 1)
    relying.provider.change = lambda claims: claims.update(nonce="of another sign-in")
    await relying.sign_in(relying.visitor.another())
    assert (good.more, bad.more) == (1, 2)
