"""Of a key's end its environment is told once: a week before, or when half of a shorter time is over."""

import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.domain.ids import encode
from app.features.operational_webhooks.service import open_application
from app.features.organisations import expiry, operations, rotation
from app.features.organisations.expiry_queries import take_ending
from app.features.organisations.operations import NewKey
from app.models import ApiKey, ApiKeySecret, Message, Organisation, Payload
from tests.worker.house import App, House

DAY = timedelta(days=1)


class Owner:
    """An organisation with one key, and an endpoint in the key's environment that is told of everything."""

    def __init__(self, house: House, new: NewKey | None = None) -> None:
        self.house = house
        with house.sessions.begin() as db:
            self.id = operations.create_organisation(db, "owner")
            key, _ = operations.create_key(db, self.id, new or NewKey("shop", "test"))
            self.key_id, self.environment_id = key.id, key.environment_id
            hidden = open_application(db, self.environment_id)
            self.app = App(self.environment_id, hidden.id)
        house.endpoint(self.app)

    def age(self, days: float) -> None:
        """Makes all secrets so far as old as that."""
        self.set_secrets(created_at=self.house.now(-days * 86400))

    def set_secrets(self, **values: object) -> None:
        self.house.change(ApiKeySecret, values, key_id=self.key_id)

    def rotate(self, overlap: timedelta) -> None:
        with self.house.sessions.begin() as db:
            rotation.rotate(db, rotation.find(db, self.id, self.key_id, lock=True), overlap, self.house.ring)

    def told(self) -> list[dict[str, str]]:
        """The data of each event."""
        messages = {one.id for one in self.house.rows(Message, environment_id=self.environment_id)}
        payloads = self.house.rows(Payload, environment_id=self.environment_id)
        assert {one.message_id for one in payloads} == messages
        bodies = [json.loads(one.body) for one in payloads]
        assert {one["type"] for one in bodies} <= {"api_key.expiring"}
        return [one["data"] for one in bodies]


@pytest.fixture
def owner(house: House) -> Owner:
    return Owner(house)


def sweep(house: House) -> None:
    with house.sessions.begin() as db:
        expiry.warn(db)


def test_a_key_without_an_end_is_not_spoken_of(house: House, owner: Owner) -> None:
    owner.age(1000)
    sweep(house)
    assert owner.told() == []


@pytest.mark.parametrize(("days", "told"), [(8, 0), (6, 1)])
def test_a_week_before_its_key_ends(house: House, owner: Owner, days: float, told: int) -> None:
    owner.age(100)
    house.change(ApiKey, {"expires_at": house.now(days * 86400)}, id=owner.key_id)
    sweep(house)
    assert len(owner.told()) == told


@pytest.mark.parametrize(("age", "told"), [(22, 0), (24, 1), (31, 0)])
def test_a_week_before_the_policy_ends_it(house: House, owner: Owner, age: float, told: int) -> None:
    house.change(Organisation, {"key_days": 30}, id=owner.id)
    owner.age(age)
    sweep(house)
    assert len(owner.told()) == told


def test_it_says_which_secret_and_when(house: House, owner: Owner) -> None:
    owner.age(100)
    house.change(ApiKey, {"expires_at": house.now(86400)}, id=owner.key_id)
    sweep(house)
    (secret,) = house.rows(ApiKeySecret, key_id=owner.key_id)
    (data,) = owner.told()
    end = house.one(ApiKey, id=owner.key_id).expires_at
    assert datetime.fromisoformat(data.pop("endsAt")) == end
    assert data == {
        "keyId": encode("key", owner.key_id),
        "name": "shop",
        "secretId": encode("sec", secret.id),
        "hint": secret.hint,
    }


def test_once_for_each_secret(house: House, owner: Owner) -> None:
    owner.age(100)
    house.change(ApiKey, {"expires_at": house.now(86400)}, id=owner.key_id)
    for _ in range(3):
        sweep(house)
    assert len(owner.told()) == 1
    owner.rotate(timedelta(hours=1))
    owner.age(100)
    sweep(house)
    assert len(owner.told()) == 2


@pytest.mark.parametrize(("over", "told"), [(0.4, 0), (0.6, 1)])
def test_when_half_of_a_short_overlap_is_over(house: House, owner: Owner, over: float, told: int) -> None:
    owner.age(100)
    owner.rotate(DAY)
    (old, new) = house.rows(ApiKeySecret, key_id=owner.key_id)
    house.change(ApiKeySecret, {"created_at": house.now(-over * 86400)}, id=new.id)
    house.change(ApiKeySecret, {"expires_at": house.now((1 - over) * 86400)}, id=old.id)
    sweep(house)
    assert [one["secretId"] for one in owner.told()] == [encode("sec", old.id)] * told


@pytest.mark.parametrize("gone", ["revoked", "deleted", "suspended", "over"])
def test_what_cannot_be_used_is_not_spoken_of(house: House, owner: Owner, gone: str) -> None:
    owner.age(100)
    house.change(ApiKey, {"expires_at": house.now(-1 if gone == "over" else 86400)}, id=owner.key_id)
    if gone == "revoked":
        house.change(ApiKey, {"revoked_at": house.now()}, id=owner.key_id)
    if gone in {"deleted", "suspended"}:
        house.change(Organisation, {f"{gone}_at": house.now()}, id=owner.id)
    sweep(house)
    assert owner.told() == []


def test_two_processes_take_different_ones(house: House) -> None:
    owners = [Owner(house) for _ in range(2)]
    for one in owners:
        one.age(100)
        house.change(ApiKey, {"expires_at": house.now(86400)}, id=one.key_id)
    with house.sessions() as first, house.sessions() as second:
        taken = [{row.key_id for row in db.execute(take_ending())} for db in (first, second)]
    assert taken == [{one.key_id for one in owners}, set()]


def test_where_nothing_is_due_it_reads_next_to_nothing(house: House) -> None:
    with house.sessions.begin() as db:
        organisation_id = operations.create_organisation(db, "large")
        environment_id = operations.environment_id(db, organisation_id, "live")
        db.execute(_KEYS, {"organisation": organisation_id, "environment": environment_id})
        db.execute(_SECRETS, {"organisation": organisation_id})
    with house.sessions() as db:
        assert _read(db) < 200


_KEYS = text(
    "INSERT INTO api_keys (organisation_id, id, environment_id, name, role)"
    " SELECT :organisation, gen_random_uuid(), :environment, 'k', 'viewer' FROM generate_series(1, 20000)"
)
_SECRETS = text(
    "INSERT INTO api_key_secrets (organisation_id, key_id, id, digest, hint)"
    " SELECT organisation_id, id, id, decode(md5(id::text), 'hex'), 'abcd' FROM api_keys"
    " WHERE organisation_id = :organisation"
)


def _read(db: Session) -> int:
    """How many blocks the sweep reads."""
    connection = db.connection()
    compiled = take_ending().compile(dialect=connection.dialect)
    plan = connection.exec_driver_sql(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}", dict(compiled.params)
    ).scalar_one()
    top = plan[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
