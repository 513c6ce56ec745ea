"""What surrounds every request, the fast way of a message included; pure ASGI, outermost first.

1. Answers: the request's id; security headers on whatever goes out
2. Cors: listed origins may read it
3. Refusals: what is raised further in, before the app's own error handlers, becomes JSON
4. Proxies: the true client, scheme and host
5. Hosts: only names that are ours
6. Https: no plain HTTP where HTTPS is required

Within stand the app's own: InTime, and in front of routes BodyGuard, plain paths, HEAD as GET. What the server itself
refuses carries the same headers (`app.kit.protocol`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp

from app.domain.addresses import Network
from app.domain.forwarded import ProxyHeaders
from app.kit.surface.answers import Answers, Refused, Served, ignore, unheard, unnoticed
from app.kit.surface.cors import Cors
from app.kit.surface.hosts import Hosts
from app.kit.surface.https import Https, Leaked, log_leaked
from app.kit.surface.proxies import Proxies
from app.kit.surface.refusals import Refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """How one installation is reached, and what it tells browsers.

    `loopback` lets this machine call itself by any of its names, and without HTTPS. `pages` are what browsers open,
    `probes` what answers by any address, `public` what may be cached, `unread` what no listed origin's page reads;
    `policies` are the pages' own, by path.
    """

    public_url: str
    hosts: Collection[str]
    loopback: bool
    require_https: bool
    pages: tuple[str, ...]
    probes: Collection[str]
    public: str
    unread: tuple[str, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    origins: Collection[str] = ()
    trusted: Sequence[Network] = ()
    written: ProxyHeaders = ProxyHeaders.x_forwarded
    leaked: Leaked = log_leaked
    refused: Refused = ignore
    served: Served = unheard
    arrived: Callable[[], None] = unnoticed

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app within it, in the order above."""
        if self.require_https:
            app = Https(
                app,
                url=self.public_url,
                pages=self.pages,
                probes=self.probes,
                loopback=self.loopback,
                leaked=self.leaked,
            )
        app = Hosts(app, names=self.hosts, loopback=self.loopback, probes=self.probes)
        app = Refusals(Proxies(app, trusted=self.trusted, written=self.written))
        if self.origins:
            app = Cors(app, origins=self.origins, unread=self.unread)
        return Answers(
            app,
            public=self.public,
            policies=self.policies,
            refused=self.refused,
            served=self.served,
            arrived=self.arrived,
        )
