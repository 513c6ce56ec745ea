"""Brings a cluster up, part by part, and says how long each took."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.cluster import kind
from tests.cluster.control_plane import containers, control_plane, make_cgroups, node_programs, take_image
from tests.cluster.gateway.node import gateway, gateway_objects
from tests.cluster.identity import make_identities
from tests.cluster.images import Image, Images
from tests.cluster.install import apply, install
from tests.cluster.keda import keda, keda_objects
from tests.cluster.metrics_server import metrics_server, metrics_server_objects
from tests.cluster.names import names, names_objects
from tests.cluster.place import ClusterError, NodeProgram, Place
from tests.cluster.prometheus.node import prometheus, prometheus_objects
from tests.cluster.rollouts import rollouts, rollouts_objects
from tests.deploy.crds import definitions, fetched, pins
from tests.deploy.manifests import Manifest
from tests.deploy.tools import CLUSTER, KIND, RELEASES, cache, program

# Whose kinds an installation is made of.
_GROUPS = ("argoproj.io", "gateway.networking.k8s.io", "gateway.nginx.org", "keda.sh", "monitoring.coreos.com")

# Its name, what it stands on, and the programs of the node that it is.
Component = tuple[str, Callable[[], Iterable[Manifest]], Callable[[Place], Iterable[NodeProgram]]]


def bring_up(place: Place, *, small: bool, by_kind: bool) -> None:
    """From nothing to an installation that is served, on this machine as it is or on a container that kind makes."""
    # Before minutes of compiling, not after them.
    place.refuse_what_cannot_begin()
    if not small and cache().resolve().is_relative_to("/tmp"):  # noqa: S108 nothing is written
        raise ClusterError("POSTRIDER_TOOLS is below /tmp, where Argo CD finds no program: name a folder elsewhere")
    with part("programs and images"):
        images = _made(*(RELEASES if small else CLUSTER), *(KIND if by_kind else ()))
    try:
        if by_kind:
            _begin_by_kind(place, Images(cache() / "images").kind_node(), images)
        else:
            _begin(place, images)
        for what, objects, programs in _components(place, small=small):
            with part(what):
                apply(place, objects())
                place.start(programs(place))
        with part("Postrider"):
            install(place, images)
    except BaseException:
        sys.stderr.write(f"what the node's programs wrote is in {place.folder}/logs; make cluster-down takes it away\n")
        raise


def _made(*programs: str) -> Mapping[str, Image]:
    """Everything that is compiled, fetched and built: nothing can be fetched once the node's network is entered.

    The images are built beside the programs, of which one alone waits for its linker or for what it fetches. Programs
    come one after the other, since most compile the same libraries.
    """
    with ThreadPoolExecutor(1) as builder:
        images = builder.submit(Images(cache() / "images").all)
        for name in ("helm", "kustomize", "gotemplate", *programs):
            program(name)
        for pinned in pins():
            fetched(pinned)
        return images.result()


def _begin(place: Place, images: Mapping[str, Image]) -> None:
    with part("the node's namespaces"):
        place.begin()
    place.enter_network()
    with part("containerd"):
        make_cgroups(place)
        place.start(containers(place, images["pause"].reference))
    # Most of it waits for the disk, and the rest for the processors.
    with ThreadPoolExecutor() as pool:
        taken = pool.submit(_take_images, place, images)
        with part("the control plane"):
            make_identities(place)
            place.start(control_plane(place))
        with part("definitions of kinds"):
            _define_kinds(place)
        with part("images on the node, as far as they were not there yet"):
            taken.result()
    with part("a node that runs pods"):
        place.start(node_programs(place))


def _begin_by_kind(place: Place, node: Image, images: Mapping[str, Image]) -> None:
    with part("the node's image, given to Docker"):
        kind.load_node(node)
    with part("a node by kind"):
        kind.begin_node(place, node)
    place.enter_network()
    with part("definitions of kinds"):
        kind.know_each_other(place)
        _define_kinds(place)
    with part("images on the node"):
        _take_images(place, images)
    with part("a node that runs pods"):
        kind.wait_ready(place)


def _define_kinds(place: Place) -> None:
    client = place.kube()
    for one in definitions():
        if one["kind"] != "CustomResourceDefinition" or one["spec"]["group"] in _GROUPS:
            client.create(one)


def _components(place: Place, *, small: bool) -> Iterator[Component]:
    """What a cluster has beside Kubernetes; Argo CD comes with the rehearsal that is about it."""
    yield "names", names_objects, names
    yield "the way in", gateway_objects, gateway
    yield "Prometheus", prometheus_objects, prometheus
    yield "Argo Rollouts", rollouts_objects, rollouts
    if not small:
        yield "metrics-server", metrics_server_objects, metrics_server
        yield "KEDA", partial(keda_objects, place), keda


def _take_images(place: Place, images: Mapping[str, Image]) -> None:
    for image in images.values():
        take_image(place, image)


@contextmanager
def part(what: str) -> Iterator[None]:
    """Says how long it took."""
    began = time.monotonic()
    yield
    sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {what}\n")
    sys.stdout.flush()
