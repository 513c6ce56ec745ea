"""A good release gets to everybody by steps, and nobody who calls meanwhile notices it."""

import pytest

from tests.cluster.rehearsals.good import good_release
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import Installation
from tests.cluster.traffic import Grounds


@pytest.mark.bounded_only
def test_a_good_release_is_promoted_by_steps(grounds: Grounds, installation: Installation, released: Released) -> None:
    """In the long form it comes from Git, with the same promises."""
    release = released("good")
    with good_release(grounds, installation, "1 a good release"):
        installation.release(release)
        installation.wait_healthy(600)
        installation.smoke(release)
    installation.wait_images(released.image("good").reference)
