"""Passwords are changed by whoever knows them, and chosen anew by whoever reads the person's mail."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.domain.failures import STOP
from app.domain.owned_tokens import SECRET_BYTES, Token
from app.features.mail.letters import write
from app.features.sign_in.queries import UNKNOWN_DEVICE
from app.features.sign_in.throttle import PASSWORD as KIND
from app.features.sign_in.throttle import SECOND_STEP
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing
from app.models import AuditEvent, FailureCount, OneTimeToken, Passkey, PersonSession, User
from app.settings import Settings
from tests.api.client import Reply
from tests.metrics import counting
from tests.people.letters import letters
from tests.people.visitor import PASSWORD, Forms, Known, Visitor, location

Stranger = Callable[[], Visitor]
NEW = "a quiet lake behind the mill"


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return settings.secrets.ring()


async def change(visitor: Visitor, password: str, current: str = PASSWORD, **fields: str) -> int:
    reply = await visitor.submit("/account/password", current=current, password=password, **fields)
    return reply.status


async def reset_token(visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing) -> str:
    assert (await visitor.submit("/password/forgotten", email=person.email)).status == 202
    return letters(sessions, ring, person.id, "password_reset")[-1].values["token"]


async def choose(visitor: Visitor, token: str, password: str) -> int:
    page = "/password/reset?" + urlencode({"token": token})
    return (await visitor.submit("/password/reset", at=page, password=password)).status


def csrf_of(page: Reply) -> str:
    return next(form["csrf"] for form in Forms(page.raw.decode()).forms.values())


def with_cookies(visitor: Visitor) -> Visitor:
    """The same browser, once more."""
    return Visitor(visitor.http, visitor.base, visitor.headers, dict(visitor.cookies))


def reasons(visitor: Visitor) -> list[str]:
    return [part.partition('"')[0] for part in visitor.page.raw.decode().split('data-reason="')[1:]]


def let_time_pass(sessions: sessionmaker[Session], person: Known, minutes: int) -> None:
    """Lets the person have shown itself the longer ago."""
    with sessions.begin() as db:
        mine = update(PersonSession).where(PersonSession.user_id == person.id)
        db.execute(mine.values(reauthenticated_at=PersonSession.reauthenticated_at - timedelta(minutes=minutes)))


def give_passkey(sessions: sessionmaker[Session], person: Known) -> None:
    with sessions.begin() as db:
        db.add(
            Passkey(
                user_id=person.id,
                id=UUID(int=1),
                credential_id=person.id.bytes,
                public_key=b"",
                sign_count=0,
                transports=[],
                is_backed_up=False,
                name="",
            )
        )


class TestChange:
    async def test_the_new_password_counts_from_now_on(self, visitor: Visitor, person: Known) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, NEW) == 303
        assert (await visitor.get("/account")).status == 200
        assert (await visitor.another().sign_in(person.email)).status == 401
        assert (await visitor.another().sign_in(person.email, NEW)).status == 303

    @pytest.mark.acceptance("P05")
    async def test_it_needs_the_current_one(self, visitor: Visitor, person: Known) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, NEW, current="not this one, surely") == 401
        assert reasons(visitor) == ["wrong_password"]
        assert (await visitor.another().sign_in(person.email)).status == 303

    @pytest.mark.acceptance("P05")
    async def test_it_needs_somebody_who_was_here_just_now(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session]
    ) -> None:
        await visitor.sign_in(person.email)
        form = {"csrf": csrf_of(await visitor.get("/account")), "current": PASSWORD, "password": NEW}
        let_time_pass(sessions, person, 6)
        await asyncio.sleep(5.1)  # what is remembered of the session was true until now
        reply = await visitor.post("/account/password", form)
        assert (reply.status, reasons(visitor)) == (403, ["reauth_required"])
        assert location(await visitor.get("/account/password")) == "/sign-in/again?next=/account/password"

    @pytest.mark.acceptance("P05")
    @pytest.mark.parametrize(("end_others", "status"), [("yes", 303), ("no", 200)])
    async def test_other_sessions_end_where_that_is_wanted(
        self, visitor: Visitor, person: Known, end_others: str, status: int
    ) -> None:
        other = visitor.another()
        await other.sign_in(person.email)
        await visitor.sign_in(person.email)
        assert await change(visitor, NEW, end_others=end_others) == 303
        assert (await other.get("/account")).status == status
        assert (await visitor.get("/account")).status == 200

    async def test_the_session_gets_another_secret(self, visitor: Visitor, person: Known) -> None:
        await visitor.sign_in(person.email)
        before = visitor.cookies[COOKIE]
        await change(visitor, NEW)
        assert visitor.cookies[COOKIE] != before
        thief = visitor.another()
        thief.cookies[COOKIE] = before
        assert (await thief.get("/account")).status == 303

    async def test_it_is_written_down_and_mailed(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        await visitor.sign_in(person.email)
        await change(visitor, NEW)
        (letter,) = letters(sessions, ring, person.id, "password_changed")
        assert (letter.address, letter.values["where"]) == (person.email, visitor.headers["x-forwarded-for"])
        with sessions.begin() as db:
            event = db.scalars(select(AuditEvent).where(AuditEvent.action == "user.password_changed")).all()[-1]
        assert event.organisation_id == person.organisation_id
        assert NEW not in str(event.details)

    @pytest.mark.parametrize(
        ("password", "word"),
        [
            pytest.param("seven kg fourt", "too_short", marks=pytest.mark.acceptance("P01")),
            pytest.param("1qaz2wsx3edc4rfv", "blocklisted", marks=pytest.mark.acceptance("P04")),
            pytest.param("Postrider-Webhooks-1", "blocklisted", marks=pytest.mark.acceptance("P04")),
            pytest.param("Test Person Test Person", "blocklisted", marks=pytest.mark.acceptance("P04")),
            ("abcabcabcabcabcabcabc", "too_guessable"),
            ("x" * 1025, "too_long"),
        ],
    )
    async def test_what_is_too_weak_is_refused_with_the_reason(
        self, visitor: Visitor, person: Known, password: str, word: str
    ) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, password) == 422
        assert reasons(visitor) == [word]

    @pytest.mark.acceptance("P04")
    async def test_the_own_address_is_refused(self, visitor: Visitor, person: Known) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, person.email) == 422
        assert reasons(visitor) == ["blocklisted"]

    @pytest.mark.acceptance("P01")
    async def test_eight_characters_do_beside_a_second_factor(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session]
    ) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, "kx7qmzpa") == 422
        give_passkey(sessions, person)
        assert await change(visitor, "kx7qmz") == 422
        assert reasons(visitor) == ["too_short"]
        assert await change(visitor, "kx7qmzpa") == 303

    @pytest.mark.acceptance("P03")
    async def test_twenty_small_letters_are_a_password(self, visitor: Visitor, person: Known) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, "qwhdkfjrtlsmzxpvuyca") == 303

    @pytest.mark.acceptance("P02")
    @pytest.mark.parametrize(
        "password",
        [
            "mill lake quiet behind 64 " + "q" * 37 + "!",
            "mill lake quiet behind 200 " + "abcdefghi " * 17 + "end",
            "  пароль из слов 🐎 ﬁn  ",
            "motörhead é café naïve",
        ],
    )
    async def test_long_passwords_of_any_characters_count_to_the_last_one(
        self, visitor: Visitor, person: Known, password: str
    ) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, password) == 303
        assert (await visitor.another().sign_in(person.email, password)).status == 303
        for wrong in (password[:-1], password[:72] if len(password) > 72 else password.strip("é "), password + " "):
            if wrong != password:
                assert (await visitor.another().sign_in(person.email, wrong)).status == 401

    @pytest.mark.acceptance("P02")
    async def test_the_same_letters_are_the_same_password_on_every_keyboard(
        self, visitor: Visitor, person: Known
    ) -> None:
        await visitor.sign_in(person.email)
        assert await change(visitor, "cafe\u0301 naive, lieu exact") == 303
        assert (await visitor.another().sign_in(person.email, "caf\u00e9 naive, lieu exact")).status == 303
        assert (await visitor.another().sign_in(person.email, "cafe naive, lieu exact")).status == 401


class TestReset:
    async def test_the_link_lets_one_choose_a_new_password(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        token = await reset_token(visitor, person, sessions, ring)
        assert await choose(visitor, token, NEW) == 303
        assert (await visitor.get("/account")).status == 200
        assert (await visitor.another().sign_in(person.email)).status == 401
        assert (await visitor.another().sign_in(person.email, NEW)).status == 303

    @pytest.mark.acceptance("P07")
    async def test_who_asks_is_not_told_who_is_known(
        self, stranger: Stranger, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        replies = [
            await stranger().submit("/password/forgotten", email=one) for one in (person.email, "nobody@example.test")
        ]
        assert [one.status for one in replies] == [202, 202]
        assert replies[0].raw == replies[1].raw
        assert len(letters(sessions, ring, person.id, "password_reset")) == 1

    @pytest.mark.acceptance("P07")
    async def test_a_link_is_good_once(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        token = await reset_token(visitor, person, sessions, ring)
        page = await visitor.get("/password/reset?" + urlencode({"token": token}))
        form = {"csrf": csrf_of(page), "token": token, "password": NEW}
        replies = await asyncio.gather(*(with_cookies(visitor).post("/password/reset", form) for _ in range(4)))
        assert sorted(one.status for one in replies) == [303, 400, 400, 400]
        reply = await visitor.get("/password/reset?" + urlencode({"token": token}))
        assert (reply.status, reasons(visitor)) == (400, ["invalid_token"])

    @pytest.mark.acceptance("P07")
    async def test_a_link_is_good_for_half_an_hour(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        token = await reset_token(visitor, person, sessions, ring)
        with sessions.begin() as db:
            row = db.scalars(select(OneTimeToken).where(OneTimeToken.user_id == person.id)).one()
            assert row.expires_at - row.created_at <= timedelta(minutes=30, seconds=1)
            row.expires_at = utc_now()
        reply = await visitor.get("/password/reset?" + urlencode({"token": token}))
        assert (reply.status, reasons(visitor)) == (400, ["invalid_token"])

    @pytest.mark.acceptance("P07")
    async def test_what_is_stored_opens_nothing(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        token = Token.read(await reset_token(visitor, person, sessions, ring))
        assert token is not None
        assert SECRET_BYTES * 8 == 256
        with sessions.begin() as db:
            row = db.scalars(select(OneTimeToken).where(OneTimeToken.user_id == person.id)).one()
        forged = Token(person.id, row.id, row.digest)
        reply = await visitor.get("/password/reset?" + urlencode({"token": forged.text()}))
        assert (reply.status, row.digest != token.secret) == (400, True)

    @pytest.mark.acceptance("P08")
    async def test_every_session_ends_and_so_does_what_clients_were_given(
        self, stranger: Stranger, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        other, visitor = stranger(), stranger()
        await other.sign_in(person.email)
        token = await reset_token(visitor, person, sessions, ring)
        with sessions.begin() as db:
            before = db.scalars(select(User.session_version).where(User.id == person.id)).one()
        assert await choose(visitor, token, NEW) == 303
        assert (await other.get("/account")).status == 303
        with sessions.begin() as db:
            assert db.scalars(select(User.session_version).where(User.id == person.id)).one() == before + 1

    @pytest.mark.acceptance("P08")
    async def test_the_second_factor_is_asked_for_all_the_same(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        give_passkey(sessions, person)
        token = await reset_token(visitor, person, sessions, ring)
        assert await choose(visitor, token, NEW) == 303
        assert location(visitor.page) == "/sign-in/second-step"
        assert COOKIE not in visitor.cookies
        with sessions.begin() as db:
            assert db.scalar(select(func.count()).select_from(Passkey).where(Passkey.user_id == person.id)) == 1

    @pytest.mark.acceptance("P09")
    async def test_the_link_leads_to_the_configured_host_whatever_is_asked(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing, settings: Settings
    ) -> None:
        reply = await visitor.get("/password/forgotten", host="evil.example")
        assert reply.status == 400
        form = {"csrf": csrf_of(await visitor.get("/password/forgotten")), "email": person.email}
        assert (await visitor.post("/password/forgotten", form, host="evil.example")).status == 400
        forwarded = {"x-forwarded-host": "evil.example"}
        assert (await visitor.post("/password/forgotten", form, **forwarded)).status in {202, 400}
        for letter in letters(sessions, ring, person.id, "password_reset"):
            text = write(letter, settings.public_url).body
            assert f"{settings.public_url}/password/reset?token=" in text
            assert "evil" not in text

    @pytest.mark.acceptance("P10")
    async def test_a_stop_ends_by_the_mail_and_codes_are_not_guessed_the_faster(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        with sessions.begin() as db:
            for kind in (KIND, SECOND_STEP):
                counted = {"device_id": UNKNOWN_DEVICE, "failures": STOP, "failed_at": utc_now()}
                db.add(FailureCount(user_id=person.id, kind=kind, **counted))
        assert (await visitor.sign_in(person.email)).status == 429
        token = await reset_token(visitor, person, sessions, ring)
        assert await choose(visitor, token, NEW) == 303
        assert (await visitor.another().sign_in(person.email, NEW)).status != 429
        with sessions.begin() as db:
            rows = db.execute(select(FailureCount.kind, FailureCount.failures).where(FailureCount.user_id == person.id))
            assert {tuple(one) for one in rows} == {(SECOND_STEP, 10)}

    async def test_a_weak_password_leaves_the_link_good(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        token = await reset_token(visitor, person, sessions, ring)
        assert await choose(visitor, token, "gjq hk vw") == 422
        assert reasons(visitor) == ["too_short"]
        assert await choose(visitor, token, NEW) == 303

    async def test_three_letters_an_hour_are_enough(
        self, stranger: Stranger, person: Known, sessions: sessionmaker[Session], ring: KeyRing
    ) -> None:
        replies = [await stranger().submit("/password/forgotten", email=person.email) for _ in range(5)]
        assert [one.status for one in replies] == 5 * [202]
        assert len(letters(sessions, ring, person.id, "password_reset")) == 3

    async def test_who_asks_for_very_many_is_stopped_and_counts_as_no_sign_in(self, visitor: Visitor) -> None:
        sign_ins = counting("postrider_sign_ins_total")
        refused = counting("postrider_rate_limit_refusals_total", route_class="letters", identity="ip")
        asked = [await visitor.submit("/password/forgotten", email=f"n{one}@example.test") for one in range(21)]
        assert [one.status for one in asked] == 20 * [202] + [429]
        assert (sign_ins.more, refused.more) == (0, 1)
