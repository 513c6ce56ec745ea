"""The operator acts as somebody: for minutes, with a reason, under a banner, and everybody concerned reads of it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.cli.main import main
from app.domain.audit import SYSTEM
from app.main import CONSOLE
from tests.people.sessions.acts import end_path, events, make_older, rows
from tests.people.visitor import Forms, Known, Visitor, location

PAGE = "/sign-in/impersonation"
REASON = "ticket 4711: <cannot> see endpoints"


HARMLESS = {"/organisation/switch", "/account/email/confirm"}
"""The second asks for what was mailed to the new address."""


def forms() -> set[str]:
    """Where forms of a person's and an organisation's pages lead."""
    posts = {
        one.path
        for router in CONSOLE
        for one in router.routes
        if isinstance(one, APIRoute) and "POST" in (one.methods or ())
    }
    return {one for one in posts if one.startswith(("/account/", "/organisation/"))}


Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str], base_url: str) -> Run:
    """The command line, as the operator uses it."""

    def call(*arguments: str) -> Result:
        return CliRunner(env={**environment, "POSTRIDER_PUBLIC_URL": base_url}).invoke(main, ["users", *arguments])

    return call


@pytest.fixture
def link(run: Run, person: Known, base_url: str) -> str:
    done = run("impersonate", person.email, "--reason", REASON, "--minutes", "20")
    assert done.exit_code == 0, done.output
    link: str = done.output.strip()
    assert link.startswith(f"{base_url}{PAGE}?token=")
    return link.removeprefix(base_url)


async def begin(visitor: Visitor, link: str) -> None:
    reply = await visitor.submit(PAGE, at=link)
    assert location(reply) == "/account"


@pytest.mark.acceptance("Z11")
class TestSession:
    async def test_the_link_tells_what_it_is_for_and_opens_a_session_under_a_banner(
        self, visitor: Visitor, person: Known, link: str
    ) -> None:
        shown = (await visitor.get(link)).raw.decode()
        assert "ticket 4711: &lt;cannot&gt; see endpoints" in shown
        assert COOKIE not in visitor.cookies
        await begin(visitor, link)
        page = (await visitor.get("/account")).raw.decode()
        assert 'class="banner"' in page
        assert f"acts as {person.email} until" in page

    async def test_the_link_is_good_once(self, visitor: Visitor, link: str) -> None:
        await begin(visitor, link)
        late = visitor.another()
        reply = await late.get(link)
        assert (reply.status, b'data-reason="invalid_token"' in reply.raw) == (401, True)

    async def test_it_ends_after_its_minutes(
        self, visitor: Visitor, person: Known, link: str, sessions: sessionmaker[Session]
    ) -> None:
        await begin(visitor, link)
        session = rows(sessions, person)[0]
        assert timedelta(minutes=19) < session.expires_at - session.created_at < timedelta(minutes=21)
        stolen = visitor.another()
        stolen.cookies[COOKIE] = visitor.cookies[COOKIE]
        make_older(sessions, session.id, timedelta(), timedelta(minutes=21))
        assert (await stolen.get("/account")).status == 303

    @pytest.mark.parametrize("path", ["/account/factors/app", "/account/factors/passkey"])
    async def test_no_factor_is_added(self, visitor: Visitor, link: str, path: str) -> None:
        await begin(visitor, link)
        reply = await visitor.get(path)
        assert (reply.status, b'data-reason="impersonated"' in reply.raw) == (403, True)

    @pytest.mark.parametrize(
        "path",
        [
            "/account/password",
            "/account/email",
            "/account/factors/app",
            "/account/factors/app/remove",
            "/account/factors/passkey",
            "/account/factors/recovery-codes",
            "/account/sessions/all",
            "/account/sessions/others",
        ],
    )
    async def test_no_credential_is_changed(self, visitor: Visitor, link: str, path: str) -> None:
        await begin(visitor, link)
        token = Forms((await visitor.get("/account")).raw.decode()).forms["/sign-in/out"]["csrf"]
        reply = await visitor.post(path, {"csrf": token})
        assert (reply.status, b'data-reason="impersonated"' in reply.raw) == (403, True)

    async def test_of_all_forms_only_harmless_ones_are_taken(self, visitor: Visitor, link: str) -> None:
        await begin(visitor, link)
        token = Forms((await visitor.get("/account")).raw.decode()).forms["/sign-in/out"]["csrf"]
        taken = set()
        for path in sorted(forms()):
            reply = await visitor.post(re.sub(r"\{[^}]+\}", "nothing", path), {"csrf": token})
            if b'data-reason="impersonated"' not in reply.raw:
                taken.add(path)
        assert taken <= HARMLESS, taken

    async def test_the_person_sees_it_among_its_sessions_and_ends_it(
        self, visitor: Visitor, person: Known, link: str, sessions: sessionmaker[Session]
    ) -> None:
        operator = visitor.another()
        await begin(operator, link)
        await visitor.sign_in(person.email)
        impersonator = rows(sessions, person)[0].impersonator
        assert impersonator is not None
        assert impersonator in (await visitor.get("/account/sessions")).raw.decode()
        await visitor.submit(end_path(operator), at="/account/sessions")
        assert (await operator.get("/account")).status == 303


@pytest.mark.acceptance("Z11")
async def test_both_sides_read_who_did_it_and_why(
    visitor: Visitor, person: Known, link: str, sessions: sessionmaker[Session]
) -> None:
    await begin(visitor, link)
    for organisation_id in (person.organisation_id, SYSTEM):
        for action in ("user.impersonation_offered", "user.impersonation_begun"):
            event = events(sessions, organisation_id, action)[-1]
            assert event.actor_kind == "operator"
            assert event.target_label == person.email
            assert (event.details["reason"], event.details["minutes"]) == (REASON, 20)
    await visitor.submit("/sign-in/out", at="/account")
    ended = events(sessions, person.organisation_id, "session.ended")[-1]
    assert ended.details["impersonator"] == event.actor_id


async def test_a_session_that_is_acted_in_is_no_habit_of_the_person(
    visitor: Visitor, person: Known, link: str, sessions: sessionmaker[Session]
) -> None:
    await begin(visitor, link)
    other = visitor.another()
    await other.sign_in(person.email)
    assert rows(sessions, person)[1].risk == 0


@pytest.mark.parametrize(
    "arguments",
    [["--reason", " "], ["--minutes", "5"], ["--reason", "r", "--minutes", "61"], ["--reason", "r", "--minutes", "0"]],
)
def test_a_reason_is_needed_and_an_hour_is_the_most(run: Run, person: Known, arguments: list[str]) -> None:
    assert run("impersonate", person.email, *arguments).exit_code == 2


def test_nobody_acts_as_somebody_who_is_disabled_or_unknown(run: Run, person: Known) -> None:
    assert run("impersonate", "nobody@example.test", "--reason", "r").exit_code == 1
    assert run("disable", person.email).exit_code == 0
    assert run("impersonate", person.email, "--reason", "r").exit_code == 1


@pytest.mark.acceptance("S10")
class TestEnding:
    async def test_the_operator_ends_the_sessions_of_one_person(
        self,
        visitor: Visitor,
        person: Known,
        second: Known,
        run: Run,
        sessions: sessionmaker[Session],
    ) -> None:
        other = visitor.another()
        await visitor.sign_in(person.email)
        await other.sign_in(second.email)
        assert [(await one.get("/account")).status for one in (visitor, other)] == [200, 200]
        assert run("end-sessions", person.email).output == "1\n"
        assert [(await one.get("/account")).status for one in (visitor, other)] == [303, 200]
        assert events(sessions, person.organisation_id, "session.all_ended")[-1].actor_kind == "operator"

    async def test_the_operator_ends_all_sessions(
        self, visitor: Visitor, person: Known, second: Known, run: Run
    ) -> None:
        other = visitor.another()
        await visitor.sign_in(person.email)
        await other.sign_in(second.email)
        assert [(await one.get("/account")).status for one in (visitor, other)] == [200, 200]
        assert run("end-sessions", "--all").exit_code == 0
        assert [(await one.get("/account")).status for one in (visitor, other)] == [303, 303]

    def test_it_is_one_or_all(self, run: Run) -> None:
        assert run("end-sessions").exit_code == 2
        assert run("end-sessions", "a@example.test", "--all").exit_code == 2
