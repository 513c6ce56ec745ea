"""What a person has allowed clients: looked at, and taken back."""

import pytest

from tests.people.oauth.world import App, code_for, dead_within_a_second, path_of, redeem, refresh
from tests.people.visitor import Visitor

PAGE, WITHDRAW = "/account/applications", "/account/applications/withdraw"


@pytest.mark.acceptance("O20")
async def test_what_was_allowed_is_shown_in_words_and_ends_when_it_is_taken_back(signed_in: Visitor, app: App) -> None:
    assert "no program" in (await signed_in.get(PAGE)).raw.decode()
    tokens = (await redeem(app, await code_for(signed_in, app))).body
    shown = (await signed_in.get(PAGE)).raw.decode()
    for words in ("Some app", "See who you are", "Read messages", "It holds tokens now"):
        assert words in shown
    assert (await signed_in.submit(WITHDRAW, at=PAGE)).status == 303
    assert "no program" in (await signed_in.get(PAGE)).raw.decode()
    assert (await refresh(app, tokens["refresh_token"])).status == 400
    await dead_within_a_second(app, tokens["access_token"])
    assert (await signed_in.get(path_of(app))).status == 200


@pytest.mark.acceptance("O20")
async def test_nobody_takes_back_what_they_have_not_allowed(signed_in: Visitor, app: App) -> None:
    await code_for(signed_in, app)
    fields = {"csrf": "x", "client": app.id}
    assert (await signed_in.post(WITHDRAW, fields)).status == 403
    for other in ("client_01h455vb4pex5vsknk084sn02q", "nonsense"):
        assert (await signed_in.submit(WITHDRAW, at=PAGE, client=other)).status == 404
    assert "Some app" in (await signed_in.get(PAGE)).raw.decode()
