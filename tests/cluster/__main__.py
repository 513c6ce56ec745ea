"""A cluster of one node on this machine, with Postrider on it: `python -m tests.cluster up`, `down` or `enter`.

`up` says how long each part took; `enter` is a shell in the node's network. They need root, and Debian's containerd,
runc, CNI plugins, podman, nginx and Prometheus. Where a Docker engine answers, kind makes the node.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from tests.cluster.kind import docker_answers, end_node
from tests.cluster.place import ClusterError, Place
from tests.cluster.up import bring_up


def main(words: Sequence[str]) -> int:
    """0, or 1 with a sentence about what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "enter"))
    parser.add_argument("--small", action="store_true", help="without KEDA, metrics-server and Argo CD")
    parser.add_argument("--on", choices=("machine", "kind"), help="kind where Docker answers, unless it is said")
    said = parser.parse_args(words)
    place = Place()
    try:
        if said.what == "up":
            bring_up(place, small=said.small, by_kind=said.on == "kind" or (said.on is None and docker_answers()))
        elif said.what == "down":
            end_node(place)
            place.end()
        else:
            place.enter_network()
            os.environ["KUBECONFIG"] = str(place.kubeconfig())
            os.execvp("sh", ["sh"])  # noqa: S606 the shell that was asked for
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
