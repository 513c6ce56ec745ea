"""Passkeys: as a second factor, and alone."""

from tests.people.factors.acts import add_passkey, half_way, recovery_codes, show_passkey
from tests.people.factors.authenticator import Authenticator
from tests.people.visitor import Known, Visitor, location


async def test_a_passkey_is_a_second_factor_and_signs_in_alone(
    visitor: Visitor, person: Known, authenticator: Authenticator
) -> None:
    await visitor.sign_in(person.email)
    assert len(recovery_codes(await add_passkey(visitor, authenticator))) == 10

    other = await half_way(visitor, person.email)
    path = "/sign-in/second-step/passkey"
    assert location(await show_passkey(other, authenticator, path, "/sign-in/second-step")) == "/account"

    alone = visitor.another()
    assert location(await show_passkey(alone, authenticator, "/sign-in/passkey")) == "/account"
    assert person.email in (await alone.get("/account")).raw.decode()
