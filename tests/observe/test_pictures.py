"""Pictures of dashboards: drawn from what a real Prometheus answers, small enough for a page that everybody reads."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.cli.dev.ports import any_free
from app.cli.dev.process import Child, Program, wait_until
from app.cli.observe.answers import NoAnswerError, Prometheus, Span
from app.cli.observe.command import PICTURES
from app.cli.observe.dashboards import DASHBOARDS
from app.cli.observe.dashboards.panels import Dashboard, Panel, Query, Row, Variable, as_json
from app.cli.observe.pictures import curves, picture
from app.cli.observe.units import written
from tests.servers import ROOT

MOST_BYTES = 150_000
ITSELF = Dashboard(
    "itself",
    "Prometheus, by itself",
    "What it says of itself.",
    (
        Row(
            "A row",
            (
                Panel("Up", "1 if it is.", (Query('up{job="$job"}', "{{job}} is up"),), kind="stat", floor=0.1),
                Panel(
                    "Samples",
                    "A second.",
                    (Query("sum(rate(prometheus_tsdb_head_samples_appended_total[5s]))"),),
                    "ops",
                ),
                Panel("Nothing", "There is none.", (Query("nothing_of_this_name"),)),
                Panel("Words", "To be **read**.", kind="text"),
            ),
        ),
    ),
    (Variable("job", "Job", "label_values(up, job)"),),
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that watches itself and has done so for some seconds."""
    folder, port = tmp_path_factory.mktemp("prometheus"), any_free()
    itself = {"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    (folder / "own.json").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [itself]}))
    words = [f"--config.file={folder / 'own.json'}", f"--storage.tsdb.path={folder / 'data'}"]
    log = folder / "log"
    log.touch()
    program = Program("prometheus", ["prometheus", *words, f"--web.listen-address=127.0.0.1:{port}"], log, cwd=folder)
    child, found = Child(program, folder), f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: has_points(found), 30), log.read_text()
        yield found
    finally:
        child.stop()


def has_points(url: str) -> bool:
    """Whether it has scraped often enough for a rate."""
    try:
        found = about(url).series("rate(prometheus_tsdb_head_samples_appended_total[5s])")
    except NoAnswerError:
        return False
    return any(len(one.values) > 2 for one in found)


def about(url: str, **chosen: str) -> Prometheus:
    """Asks about the last minute."""
    return Prometheus(url, Span(time.time() - 60, time.time()), chosen)


def panel(title: str) -> dict[str, Any]:
    """One as Grafana has it."""
    (found,) = [one for one in as_json(ITSELF)["panels"] if one["title"] == title]
    return dict(found)


def test_a_picture_has_the_size_of_its_dashboard_and_few_bytes(url: str) -> None:
    drawn = picture(as_json(ITSELF), about(url))
    lines = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in as_json(ITSELF)["panels"])
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.format == "PNG"
        assert image.width > 1200
        assert image.height == pytest.approx((0.74 + 0.36 * lines) * 100, abs=2)
        assert len(image.convert("RGB").getcolors(image.width * image.height) or []) > 20
    assert len(drawn) < MOST_BYTES


def test_curves_are_what_prometheus_answers_under_the_names_of_the_legend(url: str) -> None:
    asked = about(url)
    asked.choose(as_json(ITSELF))
    (up,) = curves(panel("Up"), asked)
    assert (up.name, up.last, up.highest) == ("itself is up", 1.0, 1.0)
    (samples,) = curves(panel("Samples"), asked)
    assert samples.highest > 100
    assert list(samples.series.times) == sorted(samples.series.times)
    assert curves(panel("Nothing"), asked) == []


def test_what_was_chosen_for_a_variable_stays(url: str) -> None:
    asked = about(url, job="another")
    asked.choose(as_json(ITSELF))
    assert curves(panel("Up"), asked) == []


def test_a_query_that_is_refused_is_said_in_the_words_of_prometheus(url: str) -> None:
    with pytest.raises(NoAnswerError, match="parse error"):
        about(url).series("sum by (")


@pytest.mark.parametrize("where", ["localhost:9090", "file:///etc/hosts"])
def test_what_is_no_address_is_refused(where: str) -> None:
    with pytest.raises(NoAnswerError, match="give one such as"):
        about(where)


def test_who_asks_nobody_is_told_what_to_do() -> None:
    with pytest.raises(NoAnswerError, match="start it by `make observe`"):
        about(f"http://127.0.0.1:{any_free()}")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.00025, "s", "250 µs"),
        (0.25, "s", "250 ms"),
        (90, "s", "1.5 min"),
        (7200, "s", "2 h"),
        (0.999, "percentunit", "99.9 %"),
        (-1, "percentunit", "-100 %"),
        (1536, "bytes", "1.5 KiB"),
        (3 * 2**30, "bytes", "3 GiB"),
        (1234567, "short", "1.23M"),
        (12.34, "ops", "12.3/s"),
        (0, "reqps", "0/s"),
    ],
)
def test_numbers_are_written_with_their_unit(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


def test_every_unit_of_our_dashboards_can_be_written() -> None:
    assert all(written(1, panel.unit) for one in DASHBOARDS for panel in one.panels)
    with pytest.raises(ValueError, match="furlong"):
        written(1, "furlong")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_the_readme_shows_a_picture_of_each_dashboard(dashboard: Dashboard) -> None:
    file = Path(PICTURES, f"{dashboard.uid}.png")
    assert f"]({file})" in (ROOT / "README.md").read_text()
    with Image.open(ROOT / file) as image:
        assert (image.format, image.width > 1200) == ("PNG", True)
    assert (ROOT / file).stat().st_size < MOST_BYTES
