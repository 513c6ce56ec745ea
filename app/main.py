"""The composition root of the API."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from starlette.datastructures import State
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.access_tokens import AccessTokens
from app.auth.audit import note_leak, note_refusal
from app.auth.dependencies import admit
from app.auth.entrance import Entrance
from app.auth.keys import Callers
from app.auth.limits import Limits
from app.auth.people import People
from app.auth.portal import PAGE, PortalTokens
from app.auth.signed_requests import SignedRequests
from app.auth.signing_keys import SigningKeys
from app.auth.uses import Uses
from app.console.account import PAGE as ACCOUNT
from app.console.account import router as account
from app.console.account_email import router as account_email
from app.console.account_password import router as account_password
from app.console.again import router as again
from app.console.applications import router as applications_of_people
from app.console.arrivals import PAGE as INVITATION
from app.console.arrivals import links as first_links
from app.console.arrivals import router as invitation_pages
from app.console.door import Door
from app.console.factors import router as factors
from app.console.identity_providers import router as identity_provider_pages
from app.console.impersonation import router as impersonation
from app.console.logout import PAGE as LOGOUT
from app.console.logout import router as logout
from app.console.members import PAGE as ORGANISATION
from app.console.members import router as organisation_pages
from app.console.oauth import CONSENT
from app.console.oauth import PAGE as AUTHORIZE
from app.console.oauth import router as consent
from app.console.pages import STATIC
from app.console.passkey import router as passkey
from app.console.password import PAGE as PASSWORD
from app.console.password import router as password
from app.console.portal import router as portal
from app.console.providers import router as providers
from app.console.second_step import router as second_step
from app.console.sessions import router as sessions
from app.console.sign_in import PAGE as SIGN_IN
from app.console.sign_in import router as sign_in
from app.domain.destinations import Destinations
from app.features.applications.router import deleted as deleted_applications
from app.features.applications.router import router as applications
from app.features.audit.first_uses import FirstUses
from app.features.audit.refusals import Refusals
from app.features.audit.router import router as audit
from app.features.authentication.router import router as authentication
from app.features.background_tasks.router import router as background_tasks
from app.features.deliveries.router import replays
from app.features.deliveries.router import router as deliveries
from app.features.endpoints.router import deleted as deleted_endpoints
from app.features.endpoints.router import router as endpoints
from app.features.event_types.router import router as event_types
from app.features.health.readiness import Readiness
from app.features.health.router import probes
from app.features.health.router import router as health
from app.features.identity_providers.provider import Providers
from app.features.identity_providers.router import router as identity_providers
from app.features.members.router import invitations
from app.features.members.router import router as members
from app.features.messages.admission import PRESENT_SECONDS, Admission
from app.features.messages.committer import Committer
from app.features.messages.ingest_lane import IngestLane
from app.features.messages.ingest_router import router as ingest
from app.features.messages.measures import measure_refused
from app.features.messages.posting import MAX_PAYLOAD_BYTES
from app.features.messages.router import router as messages
from app.features.oauth.openid_router import router as openid
from app.features.oauth.protocol_router import router as oauth
from app.features.oauth.router import clients as oauth_clients
from app.features.operational_webhooks.router import router as operational_webhooks
from app.features.organisations.router import keys as api_keys
from app.features.organisations.router import router as organisations
from app.features.organisations.usage import Usage
from app.features.sign_in.passwords import Passwords
from app.features.sign_in.throttle import Throttle
from app.features.sign_in.tickets import Tickets
from app.kit import errors_http
from app.kit.cache import Cache
from app.kit.db import assert_durable, make_async_engine, make_async_sessions
from app.kit.dedicated import AsyncDedicated
from app.kit.egress import Options, Policy
from app.kit.egress.traced import TracedEgress
from app.kit.hashing import QUEUE_SECONDS, Hasher
from app.kit.instance import markers
from app.kit.interpreter import settle
from app.kit.methods import HeadAsGet
from app.kit.openapi import Documented
from app.kit.places import Places
from app.kit.presence import Presence
from app.kit.queue import Waker
from app.kit.rate_limits.policy import parse_rate
from app.kit.rate_limits.store import Store
from app.kit.routing import PREFIX, add_routes
from app.kit.signals import signalled
from app.kit.surface import Surface
from app.kit.surface.answers import Served
from app.kit.surface.bodies import BodyGuard, InTime, PlainPaths
from app.kit.telemetry import logs, reports, requests, traces
from app.kit.telemetry.access import AccessLines
from app.kit.telemetry.hearts import Hearts, own_hearts
from app.kit.telemetry.instruments import instrumented
from app.kit.telemetry.management import Probe, managed
from app.kit.telemetry.watching import say_build, watch_pool, watched_loop
from app.kit.turns import Turns
from app.kit.wakes import Wake
from app.settings import Database, Egress, Environment, Settings, read_settings

# Routes are tried in order, which costs more than anything else around a request: what is called most comes first.
ROUTERS = (
    ingest,
    health,
    authentication,
    applications,
    event_types,
    endpoints,
    messages,
    deliveries,
    replays,
    background_tasks,
    operational_webhooks,
    deleted_applications,
    deleted_endpoints,
    audit,
    organisations,
    api_keys,
    identity_providers,
    members,
    invitations,
    oauth_clients,
)
CONSOLE = (
    portal,
    sign_in,
    second_step,
    passkey,
    again,
    providers,
    account,
    factors,
    consent,
    applications_of_people,
    organisation_pages,
    identity_provider_pages,
    invitation_pages,
    first_links,
    logout,
    password,
    account_password,
    account_email,
    sessions,
    impersonation,
)
PAGES = (
    PAGE,
    SIGN_IN,
    ACCOUNT,
    AUTHORIZE,
    CONSENT,
    ORGANISATION,
    INVITATION,
    LOGOUT,
    PASSWORD,
)
# The largest payload, and what may stand around it: the other members of a message.
MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 64 * 1024
BEAT_SECONDS = 1.0
STANDS_STILL_SECONDS = 30.0
"""After so long a process is not live: gunicorn ends it then too."""
ASK_SECONDS = 3.0
SIGN_IN_REST_SECONDS = 0.3
"""After each sign-in while others wait: a flood gets less than a sixth of a process, and people do not notice."""
STATIC_PATH = "/static"
PROBES = frozenset({f"{PREFIX}/health", f"{PREFIX}/health/ping", "/livez", "/readyz", "/startupz"})
DOCS = ("/docs", "/redoc", "/openapi.json")
# FastAPI's pages take their scripts and styles from elsewhere, and begin with a script of their own.
DOCS_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; img-src data: https://fastapi.tiangolo.com; worker-src blob:"
)


class Postrider(Documented):
    """The app: a surface around a lane for what is called most, in front of everything that other routes need."""

    surface: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        await self.surface(scope, receive, send)

    async def frame(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request by its route, within every middleware."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; gunicorn calls it in each worker process."""
    settings = settings or read_settings()
    logs.install("api", settings.telemetry.log_format, settings.telemetry.log_level)
    app = Postrider(
        title="Postrider",
        lifespan=_managed,
        redirect_slashes=False,
        # Without it FastAPI shows no documentation at all.
        openapi_url=None if settings.environment is Environment.production else DOCS[-1],
    )
    app.state.settings = settings
    app.state.issuer = settings.issuer
    app.state.keyring = settings.secrets.ring()
    app.state.portal_tokens = PortalTokens(app.state.keyring)
    app.state.admit = admit
    app.state.markers = markers(app.state.keyring)
    app.state.destinations = _destinations(settings)
    app.state.provider_rules = _provider_rules(settings)
    app.state.tickets = Tickets(app.state.keyring)
    app.state.readiness = Readiness()
    _surround(app, _surface(settings, app.state))
    add_routes(app, (*ROUTERS, probes, oauth, openid, *CONSOLE))
    app.mount(STATIC_PATH, StaticFiles(directory=STATIC))
    return app


def _surround(app: Postrider, surface: Surface) -> None:
    errors_http.install(app)
    app.add_middleware(BodyGuard, limit=MAX_BODY_BYTES, prefix=f"{PREFIX}/")
    app.add_middleware(PlainPaths)
    app.add_middleware(HeadAsGet)
    requests.measure_frame(app)
    turns = Turns(1, QUEUE_SECONDS, SIGN_IN_REST_SECONDS)
    door = Door(app.frame, turns, page=SIGN_IN, base=urlsplit(app.state.settings.public_url).path.rstrip("/"))
    lane = IngestLane(door, app.state, prefix=PREFIX, limit=MAX_BODY_BYTES)
    app.surface = surface.around(InTime(lane, seconds=app.state.settings.http.body_seconds))


def _surface(settings: Settings, state: State) -> Surface:
    http = settings.http
    return Surface(
        public_url=settings.public_url,
        hosts=settings.hosts(),
        loopback=settings.is_local,
        require_https=settings.requires_https,
        pages=(*PAGES, STATIC_PATH, *DOCS),
        probes=PROBES,
        public=f"{STATIC_PATH}/",
        unread=(AUTHORIZE, CONSENT),
        policies=dict.fromkeys(DOCS[:2], DOCS_POLICY),
        origins=http.cors_origins,
        trusted=http.proxies(),
        written=http.proxy_headers,
        refused=partial(note_refusal, state),
        leaked=partial(note_leak, state),
        served=_served(AccessLines(settings.telemetry.access_lines)),
        arrived=requests.arrived,
    )


def _served(lines: AccessLines) -> Served:
    def tell(scope: Scope, status: int | None, began: float) -> None:
        requests.served(scope, status, began)
        measure_refused(scope, status)
        lines.tell(scope, status, began)

    return tell


def _provider_rules(settings: Settings) -> Destinations:
    """As for endpoints; what tokens rest on is never asked for in the clear, but by developers."""
    in_the_clear = settings.environment is not Environment.production and not settings.egress.https_only
    return replace(_destinations(settings), https_only=not in_the_clear)


def _egress(settings: Settings) -> TracedEgress:
    egress = settings.egress
    rules = _provider_rules(settings)
    policy = Policy(rules.allow, rules.deny, rules.allowed_ports, https_only=rules.https_only)
    options = Options(
        timeout_seconds=settings.people.provider_seconds,
        user_agent=egress.user_agent,
        nameservers=egress.nameservers,
        proxy=None if egress.proxy is None else egress.proxy.get_secret_value(),
        source_address=egress.source_address,
    )
    return TracedEgress(policy, options)


def _destinations(settings: Settings) -> Destinations:
    egress: Egress = settings.egress
    return Destinations(
        public_url=settings.public_url,
        allow=egress.allowances(),
        deny=egress.denials(),
        allowed_ports=egress.ports,
        https_only=egress.https_only,
        probe=egress.probe_allowance(),
    )


@asynccontextmanager
async def _managed(app: FastAPI) -> AsyncIterator[None]:
    """Tells of the process, by reports, metrics and probes, from before it starts until after it ends."""
    settings: Settings = app.state.settings
    telemetry = settings.telemetry
    reports.start(
        telemetry.dsn(),
        "api",
        environment=settings.environment.value,
        revision=telemetry.revision,
        sample=telemetry.sentry_sample,
    )
    hearts = own_hearts(("loop",))
    hearts.export()
    beating = asyncio.create_task(_beat(hearts), name="heart")
    asked = _probes(app.state.readiness, hearts)
    try:
        with managed(telemetry.host, telemetry.port, telemetry.ports, asked):
            async with _lifespan(app):
                with signalled(signal.SIGTERM, app.state.readiness.drain):
                    yield
    finally:
        beating.cancel()


def _probes(readiness: Readiness, hearts: Hearts) -> Mapping[str, Probe]:
    return {
        "/livez": partial(hearts.fault, STANDS_STILL_SECONDS),
        "/readyz": partial(_ask, asyncio.get_running_loop(), readiness.fault),
        "/startupz": readiness.starting,
    }


async def _beat(hearts: Hearts) -> None:
    while True:
        hearts.beat("loop")
        await asyncio.sleep(BEAT_SECONDS)


def _ask(loop: asyncio.AbstractEventLoop, question: Callable[[], Coroutine[Any, Any, str | None]]) -> str | None:
    """What the loop answers to another thread, if it does."""
    asked = asyncio.run_coroutine_threadsafe(question(), loop)
    try:
        return asked.result(ASK_SECONDS)
    except TimeoutError:
        asked.cancel()
        return f"the loop has not answered within {ASK_SECONDS:g} s"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    state = app.state
    async with _database(settings.database) as engine, _traced(app, engine), watched_loop():
        state.engine = engine
        state.sessions = make_async_sessions(engine)
        state.signing_keys = SigningKeys(state.sessions, state.keyring)
        # A key that is too short is found before anybody is served.
        await state.signing_keys.current()
        with (
            _waker(settings.redis.url.get_secret_value()) as state.waker,
            closing(Hasher()) as state.hasher,
            Places(settings.people.places, settings.people.networks) as state.places,
        ):
            async with (
                _cache(app) as state.cache,
                _egress(settings) as state.egress,
                _limits(settings) as state.limits,
                _usage(state.sessions) as state.usage,
                Uses(engine) as state.uses,
                _committer(app) as state.committer,
                _audit(app),
            ):
                access_tokens = AccessTokens(engine, state.signing_keys, settings.issuer, state.cache)
                state.callers = Callers(engine, state.portal_tokens, state.keyring, access_tokens)
                state.providers = Providers(state.egress, state.provider_rules)
                state.entrance = _entrance(state)
                state.throttle = _throttle(settings, state)
                state.passwords = Passwords(state.hasher, state.throttle, state.keyring)
                settle()
                state.readiness.start(engine)
                yield


def _entrance(state: State) -> Entrance:
    signatures = SignedRequests(state.sessions, state.callers.signing_keys)
    return Entrance(state.callers, signatures, state.limits, state.uses, state.first_uses)


def _throttle(settings: Settings, state: State) -> Throttle:
    people = settings.people
    return Throttle(
        state.limits.exact,
        state.refusals,
        per_address=parse_rate(people.failures_per_address),
        per_device=parse_rate(people.failures_per_device),
    )


@asynccontextmanager
async def _database(database: Database) -> AsyncIterator[AsyncEngine]:
    url = database.url.get_secret_value()
    engine = make_async_engine(url, pool_size=database.pool_size, pooler=database.pooler)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(assert_durable)
        watch_pool("api", engine.sync_engine)
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def _traced(app: FastAPI, engine: AsyncEngine) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    telemetry = settings.telemetry
    provider = traces.start(
        telemetry.sample,
        "api",
        environment=settings.environment.value,
        revision=telemetry.revision,
        callers=telemetry.sampled_callers,
    )
    say_build(telemetry.revision, "api")
    try:
        with instrumented(app, engine.sync_engine, provider):
            yield
    finally:
        await asyncio.to_thread(traces.stop)


@asynccontextmanager
async def _cache(app: FastAPI) -> AsyncIterator[Cache]:
    settings: Settings = app.state.settings
    url = settings.redis.url.get_secret_value()
    cache = Cache(url, app.state.keyring, settings.limits.patience_seconds)
    idle = timedelta(minutes=settings.people.idle_minutes)
    app.state.people = People(app.state.sessions, cache, idle)
    try:
        yield cache
    finally:
        await cache.close()


@asynccontextmanager
async def _limits(settings: Settings) -> AsyncIterator[Limits]:
    store = Store(settings.redis.url.get_secret_value(), settings.limits.patience_seconds)
    try:
        yield Limits(store, settings.limits.rates(), prefix=PREFIX)
    finally:
        await store.close()


@asynccontextmanager
async def _usage(sessions: async_sessionmaker[AsyncSession]) -> AsyncIterator[Usage]:
    usage = Usage(sessions)
    running = asyncio.create_task(usage.run(), name="usage")
    try:
        yield usage
    finally:
        usage.close()
        await running


@contextmanager
def _waker(broker_url: str) -> Iterator[Waker]:
    waker = Waker(broker_url)
    waker.start()
    try:
        yield waker
    finally:
        waker.stop()


@asynccontextmanager
async def _committer(app: FastAPI) -> AsyncIterator[Committer]:
    ingest = app.state.settings.ingest
    app.state.admission = Admission(ingest.batch, Presence(PRESENT_SECONDS))
    async with _dedicated(app.state.settings.database) as connection:
        committer = Committer(
            connection,
            batch=ingest.batch,
            wake=partial(app.state.waker.wake, Wake.delivery),
            count=app.state.usage.count,
        )
        running = asyncio.create_task(committer.run(), name="committer")
        try:
            yield committer
        finally:
            committer.close()
            await running


@asynccontextmanager
async def _audit(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    state.refusals, state.first_uses = Refusals(state.sessions), FirstUses(state.sessions)
    async with state.refusals.running(), state.first_uses.running():
        yield


@asynccontextmanager
async def _dedicated(database: Database) -> AsyncIterator[AsyncDedicated]:
    url = database.url.get_secret_value()
    engine = make_async_engine(url, pool_size=1, pooler=database.pooler, steady=True)
    watch_pool("commits", engine.sync_engine)
    connection = AsyncDedicated(engine)
    try:
        # The first message must not wait for a connection, nor find that there is none.
        await connection.open()
        yield connection
    finally:
        await connection.close()
        await engine.dispose()
