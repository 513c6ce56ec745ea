"""An installation with its production configuration in a network where every address answers."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from app.cli.embedded import embedded_postgres, embedded_redis
from tests.e2e.customer import Caller, Customer
from tests.receiver import Receiver
from tests.servers import Servers, migrate, process_environment, urls_of
from tests.ssrf.names import NameServer
from tests.ssrf.namespace import NAME_SERVER, Namespace, private_network
from tests.system import POSTRIDER, System, prepared_system

PORTS = (80, 443, 8080, 8443)


@dataclass(frozen=True)
class Lab:
    """What is to be attacked, the canaries on every address, and the names."""

    system: System
    namespace: Namespace
    names: NameServer
    canaries: Sequence[Receiver]

    @property
    def public(self) -> Receiver:
        """The canary of port 80, IPv4: where the public address is."""
        return self.canaries[0]

    def hits(self) -> set[str]:
        """The addresses at which anything was called, whatever it then said."""
        return {str(ip_address(address)) for canary in self.canaries for address, _ in canary.connections}

    def forget_hits(self) -> None:
        """Forgets the calls so far."""
        for canary in self.canaries:
            canary.connections.clear()

    def call_plainly(self, *urls: str) -> None:
        """Gets each URL as a program does that thinks nothing of it, and asks the namespace's name server."""
        program = "import sys, urllib.request as u; [u.urlopen(one, timeout=5).read() for one in sys.argv[1:]]"
        subprocess.run([*self.namespace.prefix, sys.executable, "-c", program, *urls], env={}, check=True, timeout=60)

    def customer(self) -> Customer:
        """A fresh organisation with an application."""
        return Customer(Caller(self.system.url, self.system.new_tenant().key))


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """The laboratory; this thread is in its network until it is taken down."""
    with ExitStack() as stack:
        namespace = stack.enter_context(private_network())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postrider-ssrf-")))
        folder.chmod(0o711)  # the servers' account passes through to folders of its own
        names = stack.enter_context(NameServer(NAME_SERVER))
        hosts = ("0.0.0.0", "::")  # noqa: S104  # of the namespace
        canaries = [stack.enter_context(Receiver(host, port)) for port in PORTS for host in hosts]
        environment = production(
            stack.enter_context(embedded_postgres(folder)), stack.enter_context(embedded_redis(folder))
        )
        system = stack.enter_context(prepared_system(environment, (*namespace.prefix, *POSTRIDER)))
        system.start(api=1, workers=1)
        yield Lab(system, namespace, names, canaries)


def production(database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of an operator who sets what must be set and nothing else."""
    urls = urls_of(Servers(database_url, redis_url), "postrider")
    migrate(urls)
    environment = process_environment(urls, redis_url) | {"POSTRIDER_ENVIRONMENT": "production"}
    del environment["POSTRIDER_EGRESS__ALLOW"]
    return environment
