"""What each worker process owns: its database engine, its delivery engine, its sweeps. Made after the fork."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from prometheus_client import REGISTRY
from sqlalchemy import Engine as Database
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.kit.db import NotDurableError, assert_durable, make_engine, make_sessions
from app.kit.dedicated import Dedicated
from app.kit.egress import Options, Policy
from app.kit.encryption import KeyRing
from app.kit.instance import marker
from app.kit.interpreter import settle, share_among_threads
from app.kit.post import Folder, Port, Smtp
from app.kit.telemetry import traces
from app.kit.telemetry.hearts import Hearts
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.watching import say_build, watch_pool
from app.models import Lane
from app.settings import Settings
from worker.audit import Sealer
from worker.delivery.claim import Claimer
from worker.delivery.engine import ASK_AGAIN_SECONDS, Engine, Limits
from worker.delivery.lines import AttemptLines
from worker.delivery.transport import Policies, Transport
from worker.figures import Teller
from worker.logouts import Announcer, Herald
from worker.mail import Outgoing, Postman
from worker.stopping import Stopping
from worker.sweeps import Sweeper
from worker.tracing import start_traces

logger = get_logger(__name__)


class Process:
    """The parts of one process, started together and stopped in order.

    It delivers if there are lanes for it; mail, seals, figures and the like are for those that do `maintenance`.
    """

    def __init__(self, settings: Settings, stopping: Stopping, hearts: Hearts, *, maintenance: bool = True) -> None:
        self.settings = settings
        self.hearts = hearts
        self._delivers = bool(settings.delivery.lanes)
        self._maintains = maintenance
        self.database: Database = make_engine(settings.database.worker(), pool_size=3)
        self.sessions: sessionmaker[Session] = make_sessions(self.database)
        self._deliveries: Database = make_engine(settings.database.worker(), pool_size=1, steady=True)
        watch_pool("worker", self.database)
        watch_pool("deliveries", self._deliveries)
        self.ring = settings.secrets.ring()
        self.engine = _engine(
            settings, Dedicated(self._deliveries), self.ring, stopping, partial(hearts.beat, "engine")
        )
        self._transport = _transport(settings, self.ring, self.engine.notice, partial(hearts.beat, "transport"))
        seal = Sealer(self.sessions, self.ring, settings.audit.anchors).run
        self.sweeper = Sweeper(self.sessions, stopping, seal, partial(hearts.beat, "sweeper"))
        self.herald = Herald(self.sessions, Announcer(settings.issuer, self.ring, *_way_out(settings)), stopping)
        self.figures = Teller(self.database, REGISTRY, stopping)
        self.postman = Postman(self.sessions, _outgoing(settings, self.ring), stopping)

    def start(self) -> None:
        """Refuses a database that would lose data, then begins to deliver."""
        start_traces(self.settings, "worker", self.database)
        say_build(self.settings.telemetry.revision, "worker")
        with self.database.connect() as connection:
            assert_durable(connection)
        if self._delivers:
            self._transport.start()
            self.engine.start(self._transport)
        if self._maintains:
            self.sweeper.start()
            self.postman.start()
            self.herald.start()
            self.figures.start()
        share_among_threads()
        settle()

    def stop(self) -> None:
        """Lets what is in flight finish within the limit and gives the rest back."""
        if self._delivers:
            self.engine.stop()
        if self._maintains:
            self.sweeper.stop()
            self.postman.stop()
            self.herald.stop()
            self.figures.stop()
        if self._delivers:
            self._transport.stop()
        self.hearts.forget()
        traces.stop()
        self._deliveries.dispose()
        self.database.dispose()


def refuse_unsafe_database(settings: Settings) -> None:
    """SystemExit with one line when the database would lose data; one that is out of reach may still come."""
    database = make_engine(settings.database.worker(), pool_size=1)
    try:
        with database.connect() as connection:
            assert_durable(connection)
    except NotDurableError as error:
        raise SystemExit(f"postrider worker: {error}") from None
    except OperationalError as error:
        logger.warning("database_unavailable", error=str(error.orig))
    finally:
        database.dispose()


def refuse_missing_folder(settings: Settings) -> None:
    """SystemExit with one line when there is no folder where the audit log's anchors are to go."""
    folder = settings.audit.anchors
    if folder is not None and not folder.is_dir():
        raise SystemExit(f"postrider worker: POSTRIDER_AUDIT__ANCHORS: {folder} is no folder; make it, or name another")


def _engine(
    settings: Settings, connection: Dedicated, ring: KeyRing, stopping: Stopping, beat: Callable[[], None]
) -> Engine:
    delivery = settings.delivery
    lease = timedelta(seconds=delivery.lease_seconds)
    claimer = Claimer(ring, cap=delivery.concurrency_per_endpoint, lease=lease, calm_seconds=ASK_AGAIN_SECONDS)
    lanes = [Lane[name] for name in delivery.lanes]
    limits = Limits(delivery.in_flight, delivery.sweep_seconds, delivery.drain_seconds, lanes)
    return Engine(connection, claimer, limits, stopping, beat)


def _outgoing(settings: Settings, ring: KeyRing) -> Outgoing:
    server, folder = settings.mail_server(), settings.mail.folder
    port: Port | None = None
    if server is not None:
        port = Smtp(server)
    elif folder is not None:
        port = Folder(folder)
    return Outgoing(ring, port, settings.mail.sender, settings.public_url)


def _transport(settings: Settings, ring: KeyRing, notify: Callable[[], None], beat: Callable[[], None]) -> Transport:
    telemetry = settings.telemetry
    lines, tells = AttemptLines(telemetry.access_lines), telemetry.send_traceparent
    policy, options = _way_out(settings)
    return Transport(
        Policies(policy, settings.egress.probe_allowance()),
        options,
        instance=marker(ring),
        notify=notify,
        lines=lines,
        tells_traces=tells,
        beat=beat,
    )


def _way_out(settings: Settings) -> tuple[Policy, Options]:
    egress = settings.egress
    policy = Policy(egress.allowances(), egress.denials(), egress.ports, https_only=egress.https_only)
    options = Options(
        timeout_seconds=egress.timeout_seconds,
        user_agent=egress.user_agent,
        nameservers=egress.nameservers,
        proxy=None if egress.proxy is None else egress.proxy.get_secret_value(),
        source_address=egress.source_address,
    )
    return policy, options
