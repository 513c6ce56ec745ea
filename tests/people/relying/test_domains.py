"""Whose people a provider vouches for: domains that their owners have proved by a TXT record."""

import secrets

import aiohttp
import pytest

from tests.api.client import Api
from tests.egress.peers import NXDOMAIN, SERVFAIL, NameServer
from tests.people.relying.world import Relying
from tests.people.visitor import location


async def claimed(relying: Relying) -> tuple[str, str, str]:
    """A domain that is claimed: its name, and the record that proves it."""
    domain = f"d{secrets.token_hex(4)}.test"
    added = await relying.api.post(f"{relying.path}/domain", {"domain": domain})
    assert (added.status, added.body["verifiedAt"]) == (201, None)
    return domain, added.body["recordName"], added.body["recordText"]


@pytest.mark.acceptance("I10")
async def test_a_domain_is_proved_by_its_txt_record(relying: Relying, names: NameServer) -> None:
    domain, record, text = await claimed(relying)
    names.answers = lambda _: NXDOMAIN
    early = await relying.api.post(f"{relying.path}/domain/{domain}/verify")
    assert (early.status, early.code) == (409, "domain_not_verified")
    names.texts[record] = ["v=spf1 -all", text]
    late = await relying.api.post(f"{relying.path}/domain/{domain}/verify")
    assert (late.status, late.body["verifiedAt"] is not None) == (200, True)
    assert [one.details for one in relying.events("provider.domain_verified")] == [{"domain": domain}]


@pytest.mark.acceptance("I10")
async def test_another_text_proves_nothing(relying: Relying, names: NameServer) -> None:
    domain, record, text = await claimed(relying)
    names.texts[record] = [text + "x", text[:-1], ""]
    assert (await relying.api.post(f"{relying.path}/domain/{domain}/verify")).status == 409


async def test_name_servers_that_fail_are_told_apart_from_a_record_that_is_not_there(
    relying: Relying, names: NameServer
) -> None:
    domain, _, _ = await claimed(relying)
    names.answers = lambda _: SERVFAIL
    reply = await relying.api.post(f"{relying.path}/domain/{domain}/verify")
    assert (reply.status, reply.code) == (502, "bad_gateway")


@pytest.mark.acceptance("I10")
async def test_a_domain_that_is_claimed_only_leads_nowhere_and_admits_nobody(relying: Relying) -> None:
    domain, _, _ = await claimed(relying)
    relying.provider.person.email = f"pat@{domain}"
    assert (await relying.sign_in()).status == 403
    reply = await relying.visitor.submit("/sign-in", email=f"pat@{domain}", password="")
    assert reply.status == 401


@pytest.mark.acceptance("I10")
async def test_a_domain_belongs_to_one_provider(
    relying: Relying, names: NameServer, stranger: Api, http: aiohttp.ClientSession
) -> None:
    domain = relying.provider.person.email.partition("@")[2]
    body = {"name": "Other", "issuer": relying.provider.issuer, "clientId": "c", "authMethod": "none"}
    theirs = (await stranger.post("/organisation/identity-provider", body)).body["id"]
    added = await stranger.post(f"/organisation/identity-provider/{theirs}/domain", {"domain": domain})
    names.texts[added.body["recordName"]] = [added.body["recordText"]]
    reply = await stranger.post(f"/organisation/identity-provider/{theirs}/domain/{domain}/verify")
    assert (reply.status, reply.code) == (409, "domain_taken")


async def test_a_domain_that_was_taken_away_leads_nowhere(relying: Relying) -> None:
    address = relying.provider.person.email
    assert location(await relying.visitor.submit("/sign-in", email=address, password="")).startswith("/sign-in/pro")
    removed = await relying.api.delete(f"{relying.path}/domain/{address.partition('@')[2]}")
    assert removed.status == 204
    assert (await relying.visitor.submit("/sign-in", email=address, password="")).status == 401


async def test_an_address_leads_to_the_provider_whether_or_not_anybody_has_it(relying: Relying) -> None:
    await relying.sign_in()
    domain = relying.provider.person.email.partition("@")[2]
    for address in (relying.provider.person.email, f"nobody@{domain}"):
        reply = await relying.visitor.another().submit("/sign-in", email=address, password="")
        assert location(reply).startswith(f"/sign-in/provider?provider={relying.id}&")


@pytest.mark.parametrize("domain", ["test", "a b.test", "-a.test", "a..test", "http://a.test", "127.0.0.1:80", ""])
async def test_what_is_no_domain_is_refused(relying: Relying, domain: str) -> None:
    assert (await relying.api.post(f"{relying.path}/domain", {"domain": domain})).status == 422


async def test_a_domain_is_claimed_once_however_it_is_written(relying: Relying) -> None:
    made = await relying.api.post(f"{relying.path}/domain", {"domain": "BÜCHER.example.test"})
    assert (made.status, made.body["domain"]) == (201, "xn--bcher-kva.example.test")
    again = await relying.api.post(f"{relying.path}/domain", {"domain": "bücher.EXAMPLE.test"})
    assert (again.status, again.code) == (409, "domain_exists")
