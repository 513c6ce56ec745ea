"""`postrider mail` shows what a folder took in place of a mail server."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.kit.clock import new_id
from app.kit.post import Folder, compose

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "mail")


@pytest.fixture
def run(folder: Folder) -> Run:
    folder.path.mkdir(mode=0o700)
    return lambda *words: CliRunner().invoke(main, ["mail", *words, f"--folder={folder.path}"])


def put(folder: Folder, subject: str, body: str) -> None:
    message = compose(new_id(), "Postrider <hooks@example.test>", "bob@example.test", subject, body)
    folder.send(message, "hooks@example.test", "bob@example.test")


def test_mails_are_listed_and_shown_the_newest_by_default(run: Run, folder: Folder) -> None:
    put(folder, "First", "one\n")
    put(folder, "Größer", "https://hooks.example.test/invitation?token=abc\n")
    first, second = (line.split("\t") for line in run("list").output.splitlines())
    assert (first[2], first[3], second[3]) == ("bob@example.test", "First", "Größer")
    shown = run("show").output
    assert "Subject: Größer\n" in shown
    assert shown.endswith("\nhttps://hooks.example.test/invitation?token=abc\n")
    assert run("show", first[0]).output.endswith("\none\n")


def test_what_is_not_there_is_said_in_a_line(run: Run) -> None:
    assert run("show").output == "Error: there is no mail\n"
    assert run("show", "nothing").output == "Error: there is no such mail\n"


def test_escapes_of_terminals_do_not_come_through(run: Run, folder: Folder) -> None:
    put(folder, "Plain", "before\x1b[2Jafter\n")
    assert "before\\u001b[2Jafter\n" in run("show").output


def test_others_on_the_machine_cannot_read_mails(run: Run, folder: Folder) -> None:
    put(folder, "Secret", "token\n")
    (file,) = folder.path.glob("*.eml")
    assert file.stat().st_mode & 0o077 == 0
