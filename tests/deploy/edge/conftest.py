"""A real API behind a real NGINX that has the rules of the rendered route, and an upstream of the tests' own."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from app.cli.dev.roles import DatabaseUrls
from tests.deploy.chart.helm import render, values_of
from tests.deploy.edge.client import HOST, Door
from tests.deploy.edge.nginx import running_nginx
from tests.deploy.edge.upstream import Upstream
from tests.deploy.tally import count
from tests.servers import Servers, process_environment
from tests.system import System, prepared_system

Opening = Callable[..., Door]


@dataclass(frozen=True, slots=True)
class Shown:
    """What NGINX shows to callers, and what they believe."""

    certificate: Path
    key: Path
    authority: trustme.CA

    def trust(self) -> ssl.SSLContext:
        """Of a caller as there are most."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


def port_of(system: System) -> int:
    """Where an API listens."""
    return urlsplit(system.url).port or 80


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(certificate), append=True)
    return Shown(certificate, key, authority)


@pytest.fixture(scope="module")
def api(servers: Servers, database: DatabaseUrls) -> Iterator[System]:
    """The API of a production, as gunicorn serves it, that believes the proxy on loopback."""
    environment = process_environment(database, servers.redis_url) | {
        "POSTRIDER_ENVIRONMENT": "production",
        "POSTRIDER_EGRESS__ALLOW": "",
        "POSTRIDER_HTTP__TRUSTED_PROXIES": "127.0.0.0/8",
    }
    with prepared_system(environment) as system:
        system.environment["POSTRIDER_PUBLIC_URL"] = f"https://{HOST}"
        system.start_part("api", f"--port={port_of(system)}", "--workers=1", "--drain-seconds=5")
        system.wait_healthy()
        yield system


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with Upstream() as started:
        yield started


@pytest.fixture(scope="module")
def opened(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opening]:
    """Opens a door in front of whatever listens on a port, by the chart's values with these changed."""
    with ExitStack() as stack:

        def open_one(port: int, *changed: str) -> Door:
            manifests = render(values_of("full"), sets=changed)
            count("renders")
            services = {one["metadata"]["name"]: port for one in manifests if one["kind"] == "Service"}
            folder = tmp_path_factory.mktemp("nginx")
            edge = running_nginx(manifests, services, folder, shown.certificate, shown.key)
            return Door(stack.enter_context(edge), shown.trust())

        yield open_one


@pytest.fixture(scope="module")
def door(opened: Opening, api: System) -> Door:
    """The way in to the API, without a limit of rate, which other tests ask for."""
    return opened(port_of(api), "gateway.nginx.rateLimit.enabled=false")
