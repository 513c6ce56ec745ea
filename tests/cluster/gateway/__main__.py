"""Has Debian's NGINX do what a cluster asks of its Gateway, in the way of NGINX Gateway Fabric.

It runs until it is killed, and NGINX with it. Requests go to the pods that are ready, not to Services. A configuration
that NGINX does not take leaves the last one at work, is an error of the log, and is told in the status of the Gateway.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.gateway.server import Nginx, NotTakenError
from tests.cluster.gateway.status import statuses
from tests.cluster.gateway.wanted import KINDS, Wanted, want
from tests.cluster.kube import Kube, RefusedError
from tests.cluster.mirror import Mirror
from tests.deploy.manifests import Manifest, named

# Each reload closes the connections that rest: what changes together makes one of it, and they come not too often.
TOGETHER_SECONDS = 0.1
PAUSE_SECONDS = 2.0
# How often it looks whether NGINX is still there, and writes a status again that could not be written.
TURN_SECONDS = 2.0
_log = logging.getLogger("gateway")


class Controller:
    """Has NGINX work by what the cluster says."""

    def __init__(self, kube: Kube, folder: Path, address: str) -> None:
        self._kube, self._folder, self._address = kube, folder, address
        self._nginx = Nginx(folder)
        self._text = self._problem = ""

    def turn(self, manifests: Sequence[Manifest]) -> None:
        """NGINX first, and then what is told of it; RuntimeError where NGINX has ended."""
        self._nginx.check()
        wanted = want(manifests, self._folder, self._address, os.cpu_count() or 1)
        if wanted is None:
            return
        if wanted.configuration != self._text:
            self._text = wanted.configuration
            self._problem = self._taken(wanted)
        for one in statuses(wanted, self._problem):
            self._tell(one)

    def stop(self) -> None:
        """Ends NGINX."""
        self._nginx.stop()

    def _taken(self, wanted: Wanted) -> str:
        """What NGINX has against it."""
        began = time.monotonic()
        try:
            self._nginx.take(wanted.configuration, wanted.edge)
        except NotTakenError as error:
            _log.error("nginx does not take what is wanted, and works on by what it has: %s", error)
            return str(error)
        shown = {backend.upstream: servers for backend, servers in wanted.upstreams.items()}
        _log.info("nginx works by %s after %.2f s", shown, time.monotonic() - began)
        for route, why in wanted.refused.items():
            _log.error("%s is not served: %s", route, why)
        return ""

    def _tell(self, manifest: Manifest) -> None:
        try:
            self._kube.apply_status(manifest)
        except (OSError, RefusedError) as error:
            _log.warning("the status of %s is not told: %s", named(manifest), error)


def main() -> None:
    """Runs until it is asked to end."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kubeconfig", type=Path, required=True)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--address", required=True)
    asked.add_argument("--namespace", default="postrider")
    asked.add_argument("--pause", type=float, default=PAUSE_SECONDS, help="seconds from a configuration to the next")
    words = asked.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    words.folder.mkdir(parents=True, exist_ok=True)
    kube = Kube(words.kubeconfig, "nginx-gateway")
    controller = Controller(kube, words.folder, words.address)
    mirror = Mirror(kube, KINDS, words.namespace)
    try:
        while True:
            if mirror.wait(TURN_SECONDS):
                time.sleep(TOGETHER_SECONDS)
                controller.turn(mirror.manifests())
                time.sleep(words.pause)
    finally:
        controller.stop()


if __name__ == "__main__":
    main()
