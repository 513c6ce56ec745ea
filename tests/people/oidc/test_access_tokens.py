"""Access tokens on the API: what they open, and what ends them."""

import aiohttp
import pytest

from app.domain.ids import encode
from app.kit.token_keys import Algorithm
from tests.api.client import Api, Tenant
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known


@pytest.fixture
def api(http: aiohttp.ClientSession, base_url: str) -> Api:
    return Api(http, base_url, None)


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_client_and_a_person_call_the_api_by_scope_and_role(
    api: Api, granter: Granter, tenant: Tenant, person: Known, algorithm: Algorithm
) -> None:
    client = granter.client(tenant)
    own = granter.access(granter.grant(client), algorithm).text
    theirs = granter.access(granter.grant(client, person, "organisation:read"), algorithm).text
    for token in (own, theirs):
        reply = await api.with_credential(token).get("/organisation")
        assert (reply.status, reply.body["id"]) == (200, encode("org", tenant.organisation_id))
    assert (await api.with_credential(own).get("/app")).status == 200
    assert (await api.with_credential(theirs).get("/app")).status == 403
