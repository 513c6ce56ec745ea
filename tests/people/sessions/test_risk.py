"""A sign-in that is unlike the others asks for a second step, and the audit log says why."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.domain.risk import BURST_FAILURES, SPRAYED
from app.kit.places import Places
from app.main import create_app
from app.models import FailureCount
from app.settings import Http, PeopleSettings, Settings
from tests.api.client import Reply, served
from tests.people.factors.acts import add_app, half_way
from tests.people.letters import letters
from tests.people.sessions.acts import PHONE, events, rows
from tests.people.sessions.places import GRAZ, HOME, SYDNEY, write_cities, write_networks
from tests.people.visitor import Known, Visitor, location, new_person


@pytest.fixture(scope="module")
def well_placed(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Behind a proxy that is trusted, with the operator's databases."""
    folder = tmp_path_factory.mktemp("places")
    people: dict[str, object] = {"step_up_from": PeopleSettings().step_up_from}
    people |= {"places": write_cities(folder / "city.mmdb"), "networks": write_networks(folder / "asn.mmdb")}
    update = {"http": Http(trusted_proxies=("127.0.0.0/8",)), "people": settings.people.model_copy(update=people)}
    return settings.model_copy(update=update)


@pytest_asyncio.fixture(scope="module")
async def url(well_placed: Settings) -> AsyncIterator[str]:
    async with served(create_app(well_placed)) as url:
        yield url


class Traveller(Visitor):
    """Somebody whose address the proxy tells."""

    def at(self, address: str) -> "Traveller":
        self.headers = {**self.headers, "x-forwarded-for": address}
        return self


@pytest.fixture
def traveller(http: aiohttp.ClientSession, url: str) -> Traveller:
    return Traveller(http, url).at(HOME)


def is_asked(reply: Reply) -> bool:
    """Whether a second step is asked for."""
    return reply.status == 401 and b'data-reason="step_up_required"' in reply.raw


async def leave(visitor: Visitor) -> None:
    """Signs out; the device stays known."""
    await visitor.submit("/sign-in/out", at="/account")


@pytest.mark.acceptance("S01")
async def test_the_place_is_told_where_it_is_known(traveller: Traveller, person: Known) -> None:
    await traveller.sign_in(person.email)
    assert b"<td>198.51.100.7</td>\n<td>Vienna, Austria</td>" in (await traveller.get("/account/sessions")).raw


@pytest.mark.acceptance("S09")
async def test_who_cannot_have_come_here_is_asked_and_the_log_says_why(
    traveller: Traveller, person: Known, sessions: sessionmaker[Session]
) -> None:
    await traveller.sign_in(person.email)
    await leave(traveller)
    assert is_asked(await traveller.at(SYDNEY).sign_in(person.email))
    assert COOKIE not in traveller.cookies
    assert (await traveller.get("/account")).status == 303
    decision = events(sessions, person.organisation_id, "session.risk")[-1]
    assert (decision.outcome, decision.ip) == ("refused", SYDNEY)
    assert decision.details["decision"] == "step_up_required"
    assert decision.details["reasons"] == ["new_network", "impossible_travel"]
    assert decision.details["risk"] == 80


@pytest.mark.acceptance("S09")
async def test_a_mailed_code_answers_and_is_written_down(
    traveller: Traveller, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    await traveller.sign_in(person.email)
    await leave(traveller)
    assert is_asked(await traveller.at(SYDNEY).sign_in(person.email))
    await traveller.submit("/sign-in/second-step/mail", at="/sign-in/second-step")
    code = letters(sessions, settings.secrets.ring(), person.id, "sign_in_code")[-1].values["code"]
    reply = await traveller.submit("/sign-in/second-step/mailed-code", at="/sign-in/second-step", mailed_code=str(code))
    assert location(reply) == "/account"
    begun = events(sessions, person.organisation_id, "session.begun")[-1]
    assert begun.details["decision"] == "let_in"
    assert begun.details["reasons"] == ["new_network", "impossible_travel"]
    assert set(begun.details["methods"]) == {"pwd", "mail"}
    assert rows(sessions, person)[-1].risk == 80


@pytest.mark.acceptance("S09")
async def test_a_new_device_in_a_new_network_is_asked_and_in_the_usual_one_is_not(
    traveller: Traveller, person: Known, http: aiohttp.ClientSession, url: str
) -> None:
    await traveller.sign_in(person.email)
    assert location(await Traveller(http, url).at(GRAZ).sign_in(person.email)) == "/account"
    unknown = Traveller(http, url, {"user-agent": PHONE}).at("8.8.8.8")
    assert is_asked(await unknown.sign_in(person.email))


async def test_the_usual_place_at_the_usual_device_is_no_risk(
    traveller: Traveller, person: Known, sessions: sessionmaker[Session]
) -> None:
    for _ in range(3):
        assert location(await traveller.sign_in(person.email)) == "/account"
        await leave(traveller)
    for event in events(sessions, person.organisation_id, "session.begun"):
        assert (event.details["risk"], event.details["reasons"]) == (0, [])


@pytest.mark.acceptance("S09")
async def test_wrong_passwords_one_after_another_make_the_right_one_doubtful(
    traveller: Traveller, person: Known, sessions: sessionmaker[Session], http: aiohttp.ClientSession, url: str
) -> None:
    guesser = Traveller(http, url).at("192.0.2.77")
    for _ in range(BURST_FAILURES):
        assert (await guesser.sign_in(person.email, "wrong wrong wrong")).status == 401
    with sessions.begin() as db:
        # The pause after so many failures.
        earlier = FailureCount.failed_at - timedelta(minutes=1)
        db.execute(update(FailureCount).where(FailureCount.user_id == person.id).values(failed_at=earlier))
    assert is_asked(await guesser.sign_in(person.email))
    assert events(sessions, person.organisation_id, "session.risk")[-1].details["reasons"] == ["burst"]


@pytest.mark.acceptance("S09")
async def test_one_address_that_tries_many_people_makes_whom_it_finds_doubtful(
    person: Known, sessions: sessionmaker[Session], http: aiohttp.ClientSession, url: str
) -> None:
    sprayer = Traveller(http, url).at("192.0.2.99")
    for _ in range(SPRAYED):
        victim = new_person(sessions, person.organisation_id, password=None)
        assert (await sprayer.sign_in(victim.email, "correct horse battery staple")).status == 401
    assert is_asked(await sprayer.sign_in(person.email))
    assert events(sessions, person.organisation_id, "session.risk")[-1].details["reasons"] == ["spraying"]


@pytest.mark.acceptance("S09")
async def test_a_second_factor_is_enough_however_many_wrong_codes_came_from_the_address(
    person: Known, sessions: sessionmaker[Session], http: aiohttp.ClientSession, url: str
) -> None:
    owner = Traveller(http, url).at("192.0.2.111")
    await owner.sign_in(person.email)
    app, _ = await add_app(owner)
    for _ in range(SPRAYED):
        victim = new_person(sessions, person.organisation_id, password=None)
        assert (await owner.another().at("192.0.2.111").sign_in(victim.email)).status == 401
    again = await half_way(owner, person.email)
    for _ in range(BURST_FAILURES):
        wrong = await again.submit("/sign-in/second-step", code="000000")
        assert wrong.status == 401
    with sessions.begin() as db:
        # The pause after so many failures.
        earlier = FailureCount.failed_at - timedelta(minutes=1)
        db.execute(update(FailureCount).where(FailureCount.user_id == person.id).values(failed_at=earlier))
    assert location(await again.submit("/sign-in/second-step", code=app.code())) == "/account"
    begun = events(sessions, person.organisation_id, "session.begun")[-1]
    assert {"burst"} <= set(begun.details["reasons"])
    assert begun.details["decision"] == "let_in"


@pytest.mark.acceptance("S09")
async def test_what_strangers_say_of_their_address_is_not_believed(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    for address in (HOME, SYDNEY):
        visitor.headers = {**visitor.headers, "x-forwarded-for": address, "forwarded": f"for={address}"}
        assert location(await visitor.sign_in(person.email)) == "/account"
        await leave(visitor)
    assert {str(one.address) for one in rows(sessions, person)} == {"127.0.0.1"}


class TestDatabases:
    def test_what_they_know_is_told(self, tmp_path: Path) -> None:
        with Places(write_cities(tmp_path / "c"), write_networks(tmp_path / "n")) as places:
            vienna, graz, nowhere = (places.find(one) for one in (HOME, GRAZ, "8.8.8.8"))
        assert (vienna.country, vienna.name, vienna.network) == ("AT", "Vienna, Austria", 64500)
        assert vienna.point == (48.2, 16.37)
        assert (graz.name, graz.point, graz.network) == (None, None, 64500)
        assert nowhere == Places().find(HOME) == Places().find(None)

    def test_an_address_of_the_other_family_is_unknown(self, tmp_path: Path) -> None:
        with Places(write_cities(tmp_path / "c")) as places:
            assert places.find("2001:db8::1").name is None

    def test_a_database_that_is_not_there_stops_the_start(self, tmp_path: Path, settings: Settings) -> None:
        given = {**settings.people.model_dump(), "places": tmp_path / "none.mmdb"}
        with pytest.raises(ValueError, match="does not point to a file"):
            type(settings.people).model_validate(given)
