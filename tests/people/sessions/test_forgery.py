"""Forms that other places send, and requests that say nothing of where they come from, change nothing."""

import re

import pytest
from fastapi.routing import APIRoute

from app.auth.people import COOKIE
from app.main import CONSOLE
from tests.api.client import Api
from tests.people.visitor import Forms, Known, Visitor

OUT = "/sign-in/out"
CHANGES = ("/account/sessions/others", "/account/sessions/all", OUT)


@pytest.fixture
async def signed_in(visitor: Visitor, person: Known) -> Visitor:
    await visitor.sign_in(person.email)
    return visitor


async def token(visitor: Visitor) -> str:
    """The token of the session's forms."""
    return Forms((await visitor.get("/account")).raw.decode()).forms[OUT]["csrf"]


@pytest.mark.acceptance("H01")
class TestForms:
    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": ""},
        ],
    )
    @pytest.mark.parametrize("path", CHANGES)
    async def test_one_from_another_place_is_refused(
        self, signed_in: Visitor, path: str, headers: dict[str, str]
    ) -> None:
        reply = await signed_in.post(path, {"csrf": await token(signed_in)}, **headers)
        assert (reply.status, b'data-reason="csrf"' in reply.raw) == (403, True)
        assert (await signed_in.get("/account")).status == 200

    async def test_one_without_an_origin_is_refused(self, signed_in: Visitor) -> None:
        fields = {"csrf": await token(signed_in)}
        reply = await signed_in._ask("POST", OUT, fields, {"sec-fetch-site": "same-origin"})
        assert (reply.status, b'data-reason="csrf"' in reply.raw) == (403, True)

    async def test_the_token_of_another_session_is_refused_even_of_the_same_person(
        self, signed_in: Visitor, person: Known
    ) -> None:
        other = signed_in.another()
        await other.sign_in(person.email)
        reply = await signed_in.post(OUT, {"csrf": await token(other)})
        assert (reply.status, b'data-reason="csrf"' in reply.raw) == (403, True)
        assert (await signed_in.get("/account")).status == 200

    @pytest.mark.parametrize("given", ["", "0" * 64, "ü"])
    async def test_no_token_and_a_guess_are_refused(self, signed_in: Visitor, given: str) -> None:
        assert (await signed_in.post(OUT, {"csrf": given})).status == 403
        assert (await signed_in.post(OUT, {})).status == 403

    async def test_json_is_no_form(self, signed_in: Visitor) -> None:
        reply = await signed_in.post(OUT, {"csrf": await token(signed_in)}, **{"content-type": "text/plain"})
        assert reply.status == 415

    async def test_signing_in_is_bound_to_the_browser_before_there_is_a_session(
        self, visitor: Visitor, person: Known
    ) -> None:
        victim, attacker = visitor, visitor.another()
        await victim.get("/sign-in")
        form = Forms((await attacker.get("/sign-in")).raw.decode()).forms["/sign-in"]
        reply = await victim.post("/sign-in", {**form, "email": person.email, "password": "any"})
        assert (reply.status, b'data-reason="csrf"' in reply.raw) == (403, True)
        assert COOKIE not in victim.cookies

    async def test_the_right_one_is_taken(self, signed_in: Visitor) -> None:
        assert (await signed_in.post(OUT, {"csrf": await token(signed_in)})).status == 303


def page_routes() -> list[APIRoute]:
    return [one for router in CONSOLE for one in router.routes if isinstance(one, APIRoute)]


@pytest.mark.acceptance("H01")
async def test_opening_what_a_form_sends_to_changes_nothing(signed_in: Visitor) -> None:
    posts = {one.path for one in page_routes() if "POST" in (one.methods or ())}
    gets = {one.path for one in page_routes() if "GET" in (one.methods or ())}
    only_posts = sorted(posts - gets)
    assert set(CHANGES) <= set(only_posts)
    for path in only_posts:
        reply = await signed_in.get(re.sub(r"\{[^}]+\}", "nothing", path))
        assert reply.status in {404, 405}, path
    assert (await signed_in.get("/account")).status == 200


@pytest.mark.acceptance("H02")
class TestApi:
    async def test_a_key_needs_no_token_and_no_origin(self, api: Api) -> None:
        assert (await api.post("/app", {"name": "by a key"})).status == 201

    async def test_a_cookie_that_comes_along_does_not_matter(self, signed_in: Visitor, api: Api) -> None:
        for cookie in (signed_in.cookies[COOKIE], "nonsense"):
            headers = {"cookie": f"{COOKIE}={cookie}", "sec-fetch-site": "cross-site"}
            assert (await api.call("POST", "/app", {"name": "by a key"}, headers=headers)).status == 201

    async def test_a_cookie_opens_no_route_of_the_api(self, signed_in: Visitor, api: Api) -> None:
        cookie = f"{COOKIE}={signed_in.cookies[COOKIE]}"
        nobody = api.with_credential(None)
        for method, path in (("GET", "/app"), ("POST", "/app"), ("GET", "/organisation")):
            reply = await nobody.call(method, path, headers={"cookie": cookie})
            assert (reply.status, reply.code) == (401, "authentication_failed")
