"""What the chart renders is what was reviewed."""

import pytest

from tests.deploy.chart.goldens import GOLDEN, golden, path_of
from tests.deploy.chart.helm import VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_render_is_the_one_that_was_reviewed(variant: str) -> None:
    wanted = "write it anew with `python -m tests.deploy.chart.goldens`, and look at the difference"
    assert golden(variant) == path_of(variant).read_text(), wanted


def test_every_golden_render_has_values_of_its_own() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.yaml")) == VARIANTS
