"""The table of values in the chart's README, out of the comments of values.yaml.

`python -m tests.deploy.chart.values_table` writes it anew.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from tests.deploy.chart.helm import CHART

README = CHART / "README.md"
BEGIN, END = "<!-- values: written from values.yaml -->\n", "<!-- end of values -->\n"
_SAYS = "# -- "


@dataclass(frozen=True, slots=True)
class Value:
    """A value by its path, with its default as JSON and what is said of it."""

    path: str
    default: str
    says: str


def values() -> list[Value]:
    """Every value that something is said of, or that is no group of others."""
    text = (CHART / "values.yaml").read_text()
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_values(root, text.splitlines(), ""))


def table() -> str:
    """The table, with a row for each value."""
    rows = [f"| `{one.path}` | `{one.default}` | {one.says} |" for one in values()]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows, ""])


def written(readme: str) -> str:
    """A README with the table in its place. ValueError where there is no place for it."""
    before, _, rest = readme.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the README has no {BEGIN.strip()} with {END.strip()} behind it")
    return f"{before}{BEGIN}{table()}{END}{after}"


def _values(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Value]:
    for key, value in node.value:
        path, says = f"{prefix}{key.value}", _said_above(key.start_mark.line, lines)
        is_group = isinstance(value, yaml.MappingNode) and value.value and not value.flow_style
        if is_group and not says:
            yield from _values(value, lines, f"{path}.")
        else:
            yield Value(path, json.dumps(_plain(value)), says)


def _said_above(line: int, lines: list[str]) -> str:
    """The comment that ends above a line, from where it begins to say something."""
    said: list[str] = []
    while line and (comment := lines[line - 1].strip()).startswith("#"):
        said.insert(0, comment.removeprefix(_SAYS).removeprefix("# "))
        if comment.startswith(_SAYS):
            return " ".join(said)
        line -= 1
    return ""


def _plain(node: yaml.Node) -> object:
    return yaml.load(yaml.serialize(node), Loader=yaml.CSafeLoader)


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
    sys.stdout.write(f"{README}\n")
