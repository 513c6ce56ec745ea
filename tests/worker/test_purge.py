"""What was deleted thirty days ago is gone for good, with all that it owned and with nothing else."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.domain.permissions import Role
from app.features.deliveries.operations import cancel
from app.features.messages.operations import Once
from app.features.organisations import operations as organisations
from app.features.people import operations as people
from app.features.retention import operations, purge
from app.kit.clock import new_id
from app.kit.db import Base
from app.models import (
    Application,
    ApplicationKind,
    BackgroundTask,
    Delivery,
    DueDelivery,
    Endpoint,
    EndpointGate,
    Environment,
    FederatedIdentity,
    IdentityProvider,
    Invitation,
    LogoutNotice,
    OAuthClient,
    OAuthClientSecret,
    OAuthCode,
    OAuthConsent,
    OAuthFamily,
    OAuthRefreshToken,
    Organisation,
    OrganisationUsage,
    PersonSession,
    PortalExpiry,
    ProviderDomain,
    RevokedPortalToken,
    RevokedToken,
    SignatureNonce,
    UsedLink,
)
from tests.worker.house import App, House

LONG_AGO, NOT_LONG_AGO = timedelta(days=31), timedelta(days=30, minutes=30)
OWNED = ("environment_id", "organisation_id")
# What the installation signs tokens with.
INSTALLATIONS = frozenset({"signing_keys"})
# What belongs to an environment or its organisation, and not to one of its applications.
PEOPLE_AND_PROGRAMS = {
    *("memberships", "invitations", "sessions", "identity_providers", "provider_domains", "federated_identities"),
    *("oauth_clients", "oauth_client_secrets", "oauth_consents", "oauth_families", "oauth_codes"),
    *("oauth_refresh_tokens", "revoked_tokens", "logout_notices"),
}
SHARED = PEOPLE_AND_PROGRAMS | {
    *(
        "organisations",
        "environments",
        "api_keys",
        "api_key_secrets",
        "signature_nonces",
        "used_links",
        "organisation_usage",
    ),
    *("event_types", "background_tasks", "revoked_portal_tokens", "idempotency_keys"),
}


@pytest.fixture(autouse=True)
def clean(house: House) -> Iterator[None]:
    """Leaves nothing deleted to the next test."""
    yield
    list(purge.purge(house.sessions))
    house.clear()


def furnished(house: House, environment_id: UUID | None = None) -> App:
    """An application with rows wherever there is something to know of one."""
    app = house.app(environment_id, throttle_rate=1000)
    failing, asked = house.endpoints(app, 2, throttle_rate=1000)
    ids = house.send(app, 3)
    house.send(app, event_id="once", once=Once(os.urandom(32), b"digest", 202))
    jobs = house.claim().jobs
    house.finish(*(job for job in jobs if job.key.endpoint_id == asked))
    house.finish(*(job for job in jobs if job.key.endpoint_id == failing), status=500)
    with house.sessions.begin() as db:
        cancel(db, app.environment_id, message_id=ids[0], reason="by hand")
    mine = {"environment_id": app.environment_id, "application_id": app.id}
    house.add(
        EndpointGate(**mine, endpoint_id=failing, lane=1, next_at=house.now(3600)),
        PortalExpiry(**mine, id=new_id(), made_before=house.now(), takes_effect_at=house.now()),
    )
    return app


def company(house: House) -> Organisation:
    """An organisation with rows in every table, in both of its environments' as far as there are two."""
    with house.sessions.begin() as db:
        organisation_id = organisations.create_organisation(db, "Acme")
        key, _ = organisations.create_key(db, organisation_id, organisations.NewKey("shop", "live"))
    for environment in house.rows(Environment, organisation_id=organisation_id):
        app = furnished(house, environment.id)
        house.event_type(environment.id)
        house.endpoint(house.app(environment.id, kind=ApplicationKind.operational))
        owner = {"environment_id": app.environment_id}
        task = {"kind": "k", "status": "finished", "request": {}, "progress": {}, "due_at": house.now()}
        house.add(
            BackgroundTask(**owner, id=new_id(), **task),
            RevokedPortalToken(**owner, token_id=new_id(), expires_at=house.now(3600)),
        )
    until = house.now(3600)
    house.add(
        SignatureNonce(organisation_id=organisation_id, key_id=key.id, nonce="n", expires_at=until),
        UsedLink(organisation_id=organisation_id, link_id=new_id(), expires_at=until),
        OrganisationUsage(organisation_id=organisation_id, month=until.date().replace(day=1), events=1),
    )
    populate(house, organisation_id)
    return house.one(Organisation, id=organisation_id)


def populate(house: House, organisation_id: UUID) -> None:
    """Somebody who belongs to the organisation, its identity provider, and a client with all that it was given."""
    with house.sessions.begin() as db:
        user = people.create_user(db, f"{organisation_id.hex}@example.test")
        db.flush()
        people.join(db, organisation_id, user.id, Role.owner)
    mine: dict[str, Any] = {"organisation_id": organisation_id}
    now, until = house.now(), house.now(3600)
    provider, client, family, session = (new_id() for _ in range(4))
    asked = {"client_id": client, "user_id": user.id}
    environment_id = house.rows(Environment, organisation_id=organisation_id)[0].id
    words: dict[str, list[str]] = {
        "redirect_uris": [],
        "post_logout_redirect_uris": [],
        "grant_types": [],
        "scopes": [],
    }
    kind = {"auth_method": "none", "role": "viewer", "name": "n"}
    house.add(
        IdentityProvider(**mine, **kind, id=provider, issuer="https://i.test", client_id="c", scopes=[]),
        OAuthClient(**mine, **kind, **words, id=client, environment_id=environment_id, id_token_algorithm="RS256"),
        OAuthFamily(**mine, **asked, id=family, scopes=[], methods=[], expires_at=until),
        Invitation(
            **mine, id=new_id(), email="e", email_key="e", role="viewer", digest=b"d", invited_by="", expires_at=until
        ),
        PersonSession(
            **mine,
            id=session,
            user_id=user.id,
            digest=b"d",
            session_version=1,
            methods=[],
            user_agent="",
            expires_at=until,
        ),
    )
    provided = {**mine, "provider_id": provider}
    house.add(
        ProviderDomain(**provided, domain="d.test", challenge="c"),
        FederatedIdentity(**provided, subject="s", user_id=user.id, email="e"),
        OAuthClientSecret(**mine, client_id=client, id=new_id(), digest=b"d", hint="h"),
        OAuthConsent(**mine, **asked, scopes=[]),
        OAuthCode(
            **mine,
            **asked,
            id=new_id(),
            family_id=family,
            digest=b"d",
            redirect_uri="r",
            challenge="c",
            scopes=[],
            expires_at=until,
        ),
        OAuthRefreshToken(**mine, family_id=family, id=new_id(), digest=b"d", scopes=[]),
        RevokedToken(**mine, token_id="t", expires_at=until),
        LogoutNotice(**mine, **asked, id=new_id(), session_id=session, due_at=now),
    )


def census(house: House, organisation_id: UUID) -> Counter[str]:
    """How many rows belong to the organisation or to an environment of its, in each table that goes with them."""
    ids = [organisation_id, *(one.id for one in house.rows(Environment, organisation_id=organisation_id))]
    found: Counter[str] = Counter()
    with house.sessions() as db:
        for table in (one for one in Base.metadata.sorted_tables if one.name not in purge.KEPT | INSTALLATIONS):
            columns = [table.c[name] for name in OWNED if name in table.c]
            if table.name == "organisations":
                columns = [table.c.id]
            owned = [one.in_(ids) for one in columns]
            # Whatever belongs to people alone outlives their organisations.
            if owned:
                found[table.name] = db.scalar(select(func.count()).select_from(table).where(*owned[:1])) or 0
    return found


def delete(house: House, organisation: Organisation, ago: timedelta) -> None:
    with house.sessions.begin() as db:
        organisations.delete_organisation(db, organisation.id)
    house.change(Organisation, {"deleted_at": func.now() - ago}, id=organisation.id)


def mark(house: House, app: App, ago: timedelta) -> None:
    """Lets the application have been deleted with its endpoints so long ago."""
    house.change(Endpoint, {"deleted_at": func.now() - ago}, application_id=app.id, deleted_at=None)
    house.change(Application, {"deleted_at": func.now() - ago}, id=app.id)


def test_of_an_organisation_nothing_is_left_in_any_table(house: House) -> None:
    gone, kept = company(house), company(house)
    before, neighbour = census(house, gone.id), census(house, kept.id)
    environments = [one.id for one in house.rows(Environment, organisation_id=gone.id)]
    assert [table for table, count in before.items() if not count] == []
    delete(house, gone, LONG_AGO)
    report = operations.retain(house.sessions)
    assert +census(house, gone.id) == Counter()
    assert sum((census(house, one) for one in environments), Counter()) == Counter()
    assert census(house, kept.id) == neighbour
    assert report.deleted["organisations"] == 1
    assert report.deleted["messages"] == before["messages"]


def test_of_an_application_nothing_is_left_but_what_others_share(house: House) -> None:
    organisation = company(house)
    environment_id = house.rows(Environment, organisation_id=organisation.id)[0].id
    before = census(house, organisation.id)
    gone = furnished(house, environment_id)
    mark(house, gone, LONG_AGO)
    operations.retain(house.sessions)
    after = census(house, organisation.id)
    assert {table: after[table] - before[table] for table in after if table not in SHARED} == dict.fromkeys(
        set(after) - SHARED, 0
    )
    assert house.rows(Application, id=gone.id) == []


def test_an_endpoint_goes_alone(house: House) -> None:
    app = furnished(house)
    gone, kept = (one.id for one in house.rows(Endpoint, application_id=app.id))
    owed = len(house.rows(Delivery, endpoint_id=kept))
    house.change(Endpoint, {"deleted_at": func.now() - LONG_AGO}, id=gone)
    operations.retain(house.sessions)
    assert [one.id for one in house.rows(Endpoint, application_id=app.id)] == [kept]
    for table in (table for table in Base.metadata.sorted_tables if "endpoint_id" in table.c):
        with house.sessions() as db:
            left = db.scalar(select(func.count()).select_from(table).where(table.c.endpoint_id == gone))
        # Acts are found by their messages, and go with these.
        assert not left or table.name == "delivery_actions", table.name
    assert len(house.rows(Delivery, endpoint_id=kept)) == owed > 0
    assert len(house.messages(app)) == 4


@pytest.mark.parametrize("ago", [timedelta(days=29), NOT_LONG_AGO])
def test_before_its_time_is_over_all_is_kept(house: House, ago: timedelta) -> None:
    organisation, app = company(house), furnished(house)
    delete(house, organisation, ago)
    mark(house, app, ago)
    before = census(house, organisation.id)
    operations.retain(house.sessions)
    assert census(house, organisation.id) == before
    assert len(house.rows(Endpoint, application_id=app.id)) == 2
    assert len(house.messages(app)) == 4


def test_it_goes_on_where_it_was_interrupted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "BATCH", 2)
    organisation = company(house)
    environments = [one.id for one in house.rows(Environment, organisation_id=organisation.id)]
    delete(house, organisation, LONG_AGO)
    runs = 0
    while house.rows(Organisation, id=organisation.id):
        steps = list(islice(purge.purge(house.sessions), 7))
        assert all(count <= 20 for _, count in steps)
        runs += 1
    assert runs > 10
    assert sum((census(house, one) for one in environments), Counter()) == Counter()


def test_a_run_ends_in_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PURGE_SECONDS", 0.0)
    organisation = company(house)
    delete(house, organisation, LONG_AGO)
    report = operations.retain(house.sessions)
    assert house.rows(Organisation, id=organisation.id) != []
    assert sum(report.deleted.values()) >= 1


def test_what_waits_for_a_suspended_organisation_is_given_up_after_thirty_days(house: House) -> None:
    app = house.app()
    house.endpoints(app, 2)
    house.send(app, 2)
    environment = house.one(Environment, id=app.environment_id)
    with house.sessions.begin() as db:
        organisations.suspend_organisation(db, environment.organisation_id)
    assert house.claim().jobs == []
    operations.retain(house.sessions)
    assert len(house.rows(DueDelivery, application_id=app.id)) == 4
    house.change(Environment, {"stopped_at": func.now() - LONG_AGO}, id=environment.id)
    operations.retain(house.sessions)
    assert house.rows(DueDelivery, application_id=app.id) == []
    assert len(house.deliveries(app)) == 4
