"""What an environment runs is written, promoted and taken back by `.ci/release`, and by nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import ROOT

ONE, TWO, THREE = (f"sha256:{digit * 64}" for digit in "123")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIME = "2030-01-31T12:00:00+00:00"


class Repository:
    """A repository that holds the environments as they are here, and the program."""

    def __init__(self, folder: Path) -> None:
        """Made in the folder, which is empty."""
        self.folder = folder
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "release", folder / ".ci")
        for file in (ROOT / "argocd" / "envs").glob("*/image.yaml"):
            (folder / file.relative_to(ROOT)).parent.mkdir(parents=True)
            (folder / file.relative_to(ROOT)).write_text(file.read_text())
        self.git("init", "--quiet")
        self.commit()

    def git(self, *words: str) -> str:
        names = ("-c", "user.name=bot", "-c", "user.email=bot@example.com")
        done = subprocess.run(["git", *names, *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A step")

    def release(self, *words: str) -> tuple[int, str]:
        """The code that the program ends with, and what it says."""
        done = subprocess.run([self.folder / ".ci" / "release", *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def runs(self, environment: str, digest: str) -> None:
        """Writes a release and commits it."""
        code, said = self.release("write", environment, "--digest", digest, "--revision", COMMIT, "--built-at", TIME)
        assert (code, said) == (0, f"digest={digest}\nrevision={COMMIT}\nbuilt_at={TIME}\n")
        self.commit()

    def file(self, environment: str) -> str:
        return (self.folder / "argocd" / "envs" / environment / "image.yaml").read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_what_was_built_is_written_where_it_runs_and_nowhere_else(repository: Repository) -> None:
    repository.runs("dev", ONE)
    assert f'digest: "{ONE}"\n  revision: {COMMIT}\n  builtAt: "{TIME}"' in repository.file("dev")
    assert repository.git("show", "--name-only", "--format=").split() == ["argocd/envs/dev/image.yaml"]


def test_a_promotion_copies_the_file_to_the_letter(repository: Repository) -> None:
    repository.runs("dev", ONE)
    assert repository.release("promote", "dev", "staging")[0] == 0
    assert repository.file("staging") == repository.file("dev")
    assert repository.release("promote", "dev", "staging") == (1, f".ci/release: staging names {ONE} already\n")


def test_what_was_never_released_is_not_promoted(repository: Repository) -> None:
    code, said = repository.release("promote", "dev", "staging")
    assert (code, said) == (1, ".ci/release: dev runs no released image yet: there is nothing to promote\n")


def test_a_revert_goes_back_to_what_ran_before(repository: Repository) -> None:
    for digest in (ONE, TWO, THREE):
        repository.runs("prod", digest)
    assert repository.release("revert", "prod", "--digest", THREE)[0] == 0
    assert f'digest: "{TWO}"' in repository.file("prod")


def test_a_revert_of_a_second_try_does_not_go_back_to_the_first(repository: Repository) -> None:
    for digest in (ONE, TWO, TWO):
        repository.release("write", "prod", "--digest", digest, "--revision", COMMIT, "--built-at", TIME)
        repository.git("commit", "--quiet", "--allow-empty", "--all", "--message", "A step")
    assert repository.release("revert", "prod", "--digest", TWO)[0] == 0
    assert f'digest: "{ONE}"' in repository.file("prod")


def test_a_revert_that_comes_too_late_changes_nothing(repository: Repository) -> None:
    repository.runs("prod", ONE)
    repository.runs("prod", TWO)
    before = repository.file("prod")
    code, said = repository.release("revert", "prod", "--digest", ONE)
    assert (code, said) == (1, f".ci/release: prod names {TWO}, not {ONE}: nothing to revert\n")
    assert repository.file("prod") == before


def test_a_first_release_has_nothing_to_go_back_to(repository: Repository) -> None:
    repository.runs("prod", ONE)
    code, said = repository.release("revert", "prod", "--digest", ONE)
    assert (code, "there is nothing to go back to" in said) == (1, True)


@pytest.mark.parametrize(
    ("environment", "digest", "revision", "built_at", "said"),
    [
        ("qa", ONE, COMMIT, TIME, "there is no environment 'qa': there are dev, prod, staging"),
        ("../dev", ONE, COMMIT, TIME, "there is no environment '../dev'"),
        ("dev", "latest", COMMIT, TIME, "a digest is sha256: and 64 hexadecimal digits, not 'latest'"),
        ("dev", f"{ONE}\nx: y", COMMIT, TIME, "a digest is sha256:"),
        ("dev", ONE, "main", TIME, "a revision is a commit of 40 hexadecimal digits, not 'main'"),
        ("dev", ONE, COMMIT, '"; evil: "', "a time is such as"),
    ],
)
def test_what_cannot_be_is_refused_and_said(
    repository: Repository, environment: str, digest: str, revision: str, built_at: str, said: str
) -> None:
    before = repository.file("dev")
    code, answer = repository.release(
        "write", environment, "--digest", digest, "--revision", revision, "--built-at", built_at
    )
    assert (code, said in answer, repository.file("dev")) == (1, True, before)
