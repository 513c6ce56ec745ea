"""Each alert has a runbook, and what it tells somebody to run at night can be run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
import yaml

from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from tests.observe.exported import samples
from tests.observe.test_rules import EVERY_ALERT, RULES, promtool
from tests.servers import ROOT

RUNBOOKS = ROOT / "k8s" / "runbooks"
SECTIONS = ["What it means", "Who feels it", "How to confirm", "What to do"]
NAMES = sorted({rule.name for rule in EVERY_ALERT})


def text(name: str) -> str:
    return (RUNBOOKS / f"{name}.md").read_text()


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Every block of a language, with its alert."""
    for name in NAMES:
        for found in re.findall(rf"```{language}\n(.+?)\n```", text(name), re.DOTALL):
            yield name, found


def source() -> str:
    return "\n".join(file.read_text() for room in ("app", "worker") for file in (ROOT / room).rglob("*.py"))


def test_each_alert_has_a_runbook_and_no_runbook_is_left_over() -> None:
    assert sorted(file.stem for file in RUNBOOKS.glob("*.md")) == sorted([*NAMES, "README"])


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_says_what_whom_how_and_then(name: str) -> None:
    assert re.findall(r"^# (\w+)$", text(name), re.MULTILINE) == [name]
    assert re.findall(r"^## (.+)$", text(name), re.MULTILINE) == SECTIONS
    assert set(re.findall(r"^```(\w+)$", text(name), re.MULTILINE)) <= {"promql", "sql", "sh"}


def test_runbooks_send_nobody_to_one_that_is_not_there() -> None:
    alerts = {word for name in NAMES for word in re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text(name))}
    assert alerts - {"WALSync", "SyncRep"} <= set(NAMES)


def test_the_statements_run_as_the_workers_role_and_change_nothing(database: DatabaseUrls) -> None:
    ran = 0
    for name, statement in blocks("sql"):
        with psycopg.connect(database.worker) as db:
            db.read_only = True
            assert db.execute(statement.encode()).description is not None, name
        ran += 1
    assert ran > len(NAMES) / 2


def test_prometheus_understands_the_queries(tmp_path: Path) -> None:
    rules = [
        {"record": "looked_at", "expr": query, "labels": {"of": str(n)}}
        for n, (_, query) in enumerate(blocks("promql"))
    ]
    assert len(rules) > len(NAMES)
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stderr


def test_every_metric_that_is_named_is_one_that_there_is() -> None:
    files = [*RUNBOOKS.glob("*.md"), *RULES.glob("*.yaml")]
    named = {word for file in files for word in re.findall(r"\bpostrider_[a-z_]+[a-z]\b", file.read_text())}
    assert named - samples() == set()


def test_every_event_of_the_log_that_is_looked_for_is_one_that_is_written() -> None:
    code = source()
    events = {event for _, block in blocks("sh") for event in re.findall(r'"event": "(\w+)"', block)}
    assert events
    assert [event for event in events if f'"{event}"' not in code] == []


def test_every_command_of_postrider_that_is_named_is_one_that_there_is() -> None:
    named = {words for name in NAMES for words in re.findall(r"postrider ([a-z][a-z -]*[a-z])", text(name))}
    named = {words for words in named if re.search(rf"[`\n]postrider {re.escape(words)}", "".join(map(text, NAMES)))}
    assert "retention" in named
    for words in named:
        assert resolves(shlex.split(words)), words


def resolves(words: list[str]) -> bool:
    """Whether these words lead to a command with such options."""
    command: click.Command = main
    for word in words:
        if word.startswith("--"):
            return word == "--help" or any(word in option.opts for option in command.params)
        if not isinstance(command, click.Group):
            return False
        if (found := command.get_command(click.Context(command), word)) is None:
            return False
        command = found
    return True
