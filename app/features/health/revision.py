"""Whether the database's schema is one that this build can work with."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def built_in() -> str:
    """The newest revision among the migrations of this build: the number that its file begins with."""
    found = find_spec("migrations")
    assert found is not None
    assert found.origin is not None
    files = (Path(found.origin).parent / "versions").glob("[0-9]*.py")
    return max(one.name.split("_")[0] for one in files)


def fault_of(revision: str) -> str | None:
    """What is wrong with a schema of this revision, in words; a newer one than this build's serves it too."""
    if revision >= built_in():
        return None
    return f"the schema is at revision {revision}, and this build needs {built_in()}: run `postrider migrate`"
