"""Brings a cluster up, part by part, and says how long each took."""

import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.cluster.control_plane import containers, control_plane, make_cgroups, node_programs, take_image
from tests.cluster.identity import make_identities
from tests.cluster.images import Image, Images
from tests.cluster.install import apply, install
from tests.cluster.names import names, names_objects
from tests.cluster.place import Place
from tests.cluster.rollouts import rollouts, rollouts_objects
from tests.deploy.crds import definitions
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
            kube = place.kube()
            for one in definitions():
                if one["kind"] != "CustomResourceDefinition" or one["spec"]["group"] in _GROUPS:
                    kube.create(one)
        with part("images on the node, as far as they were not there yet"):
            taken.result()
    with part("a node that runs pods"):
        place.start(node_programs(place))
    with part("names"):
        apply(place, names_objects())
        place.start(names(place))
    with part("Argo Rollouts"):
        apply(place, rollouts_objects())
        place.start(rollouts(place))
    with part("Postrider"):
        install(place, images)


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
