"""The releases that rehearsals make of this checkout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import take_image
from tests.cluster.images import Image, Images
from tests.cluster.install import chart
from tests.cluster.place import Place
from tests.cluster.releases import API, NAMESPACE, ROLLOUTS, Release, layer
from tests.deploy.tools import cache


class Released:
    """The releases of rehearsals, whose images are made and given to the node when they are first asked for."""

    def __init__(self, place: Place) -> None:
        self._place, self._images, self._made = place, Images(cache() / "images"), dict[str, Image]()

    def __call__(self, patch: str = "", *said: Mapping[str, Any]) -> Release:
        """The product as it is, or with one patch over it, and with what is said over the values of staging."""
        return Release(patch or "the product", chart(self.image(patch), *said))

    def found(self, *said: Mapping[str, Any]) -> Release:
        """What runs on the cluster: the image that its API has, with the chart of this checkout, and what is said."""
        rollout = self._place.kube().get(ROLLOUTS, "Rollout", API, NAMESPACE)
        name, _, digest = rollout["spec"]["template"]["spec"]["containers"][0]["image"].partition("@")
        return Release("what was found", chart(Image(name, "", Path(), digest), *said))

    def image(self, patch: str = "") -> Image:
        """The image of it."""
        if patch not in self._made:
            image = self._images.postrider()
            if patch:
                image = self._images.patched(image, layer(patch, cache() / "patches"))
            # The checkout may be newer than the cluster.
            take_image(self._place, image)
            self._made[patch] = image
        return self._made[patch]
