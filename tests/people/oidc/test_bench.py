"""What the README says of algorithms is measured by a command."""

import re

from click.testing import CliRunner

from app.cli.main import main


def test_each_algorithm_is_measured() -> None:
    done = CliRunner().invoke(main, ["bench", "tokens", "--seconds", "0.01"])
    assert done.exit_code == 0, done.output
    rows = re.findall(r"\| (HS256|RS256|ES256) \| \d+ µs \| \d+ µs \| (\d+) bytes \|", done.output)
    sizes = {name: int(size) for name, size in rows}
    assert set(sizes) == {"HS256", "RS256", "ES256"}
    assert sizes["HS256"] < sizes["ES256"] < sizes["RS256"]
