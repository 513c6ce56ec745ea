"""What the provider says of itself and of people."""

import aiohttp
import pytest

from app.domain.ids import encode
from tests.api.client import Tenant
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known


async def test_userinfo_says_what_the_scopes_let_be_said(
    http: aiohttp.ClientSession, base_url: str, granter: Granter, tenant: Tenant, person: Known
) -> None:
    client = granter.client(tenant)
    token = granter.access(granter.grant(client, person, "openid", "email")).text
    headers = {"authorization": f"Bearer {token}"}
    for call in (
        http.get(f"{base_url}/oauth/userinfo", headers=headers),
        http.post(f"{base_url}/oauth/userinfo", headers=headers),
        http.post(f"{base_url}/oauth/userinfo", data={"access_token": token}),
    ):
        async with call as response:
            assert response.status == 200
            assert await response.json() == {
                "sub": encode("user", person.id),
                "email": person.email,
                "email_verified": True,
            }


@pytest.mark.acceptance("T12")
async def test_a_token_in_the_query_is_nobodys(
    http: aiohttp.ClientSession, base_url: str, granter: Granter, tenant: Tenant, person: Known
) -> None:
    token = granter.access(granter.grant(granter.client(tenant), person, "openid")).text
    async with http.get(f"{base_url}/oauth/userinfo", params={"access_token": token}) as response:
        assert response.status == 401
        assert response.headers["www-authenticate"] == "Bearer"
