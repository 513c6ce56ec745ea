"""Brings a cluster up, part by part, and says how long each took."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from tests.cluster.control_plane import control_plane, make_cgroups, node_programs, take_image
from tests.cluster.identity import make_identities
from tests.cluster.images import Image, Images
from tests.cluster.names import names, names_objects
from tests.cluster.place import Place
from tests.cluster.rollouts import rollouts, rollouts_objects
from tests.deploy.crds import definitions
from tests.deploy.manifests import Manifest
from tests.deploy.tools import cache, program

PROGRAMS = ("kubernetes", "etcd", "pause", "coredns", "rollouts-controller", "gateway-plugin", "helm", "kustomize")
# Whose kinds an installation is made of.
_GROUPS = ("argoproj.io", "gateway.networking.k8s.io", "gateway.nginx.org", "keda.sh", "monitoring.coreos.com")


def bring_up(place: Place, *, small: bool) -> None:
    """From nothing to an installation that is served."""
    with part("programs"):
        for name in PROGRAMS:
            program(name)
    with part("images"):
        images = Images(cache() / "images").all()
    with part("the node's namespaces"):
        place.begin()
    place.enter_network()
    try:
        _bring_up(place, images, small=small)
    except BaseException:
        sys.stderr.write(f"what the node's programs wrote is in {place.folder}/logs; make cluster-down takes it away\n")
        raise


def _bring_up(place: Place, images: Mapping[str, Image], *, small: bool) -> None:
    with part("the control plane"):
        make_cgroups(place)
        make_identities(place)
        place.start(control_plane(place))
    with part("a node that runs pods"):
        place.start(node_programs(place, images["pause"].reference))
    with part("images on the node"):
        for image in images.values():
            take_image(place, image)
    with part("definitions of kinds"):
        for one in definitions():
            if one["kind"] != "CustomResourceDefinition" or one["spec"]["group"] in _GROUPS:
                place.kube().create(one)
    with part("names"):
        apply(place, names_objects())
        place.start(names(place))
    with part("Argo Rollouts"):
        apply(place, rollouts_objects())
        place.start(rollouts(place))


def apply(place: Place, manifests: Iterable[Manifest]) -> None:
    """Stores manifests in the order in which they come."""
    kube = place.kube()
    for one in manifests:
        kube.apply(one)


@contextmanager
def part(what: str) -> Iterator[None]:
    """Says how long it took."""
    began = time.monotonic()
    yield
    sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {what}\n")
    sys.stdout.flush()
