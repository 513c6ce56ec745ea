"""What a migration may not do while the release before it still runs; `make check` runs this module.

A release adds; what it has no use for any more goes one release later, in a migration that says so:
`# contract-of: <the revision that added what is used instead>`.
"""

import ast
import re
import sys
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from tests.servers import ROOT

VERSIONS = ROOT / "migrations" / "versions"
# Nobody has run less: an installation is made by all of them at once, and holds nothing while it is.
FIRST_RELEASED = "0011"
MARKER = re.compile(r"#\s*contract-of:\s*(\S+)")
DROPS = "drops what the release before uses"
RENAMES = "renames what the release before uses"
RETYPES = "changes a type, which rewrites the table and may break the release before"
DEMANDS = "demands values that the release before does not write: add a server_default"
INDEXES = "locks out writers while it makes an index: say CONCURRENTLY, in an autocommit_block"
CHECKS = "locks out writers while it looks at every row: add it NOT VALID, then VALIDATE CONSTRAINT"
EMPTIES = "empties a table"
CALLS: Mapping[str, str] = {
    "drop_table": DROPS,
    "drop_column": DROPS,
    "rename_table": RENAMES,
    "create_unique_constraint": INDEXES,
    "create_primary_key": INDEXES,
    "create_exclude_constraint": INDEXES,
}
STATEMENTS: Mapping[str, str] = {
    r"\bDROP\s+(TABLE|COLUMN|VIEW|MATERIALIZED\s+VIEW|FUNCTION|SCHEMA|TYPE|TRIGGER|POLICY)\b": DROPS,
    r"\bRENAME\s+(TO|COLUMN|CONSTRAINT)\b": RENAMES,
    r"\bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b": RETYPES,
    r"\bSET\s+NOT\s+NULL\b": DEMANDS,
    r"\bADD\s+COLUMN\b(?!.*\bDEFAULT\b).*\bNOT\s+NULL\b": DEMANDS,
    r"\bTRUNCATE\b": EMPTIES,
}
INDEX = r"\bCREATE\s+(?:UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY\b).*?\bON\s+(?:ONLY\s+)?(\S+)"
CONSTRAINT = r"\bALTER\s+TABLE\s+(?:ONLY\s+)?(\S+)\s+.*?\bADD\s+(?:CONSTRAINT|CHECK|FOREIGN)\b"
NEW_TABLE = r"\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(\S+)"
ANYHOW = re.IGNORECASE | re.DOTALL


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong, and where."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Migration:
    """One file: the calls and texts of the way up, by line, and what it says of itself."""

    file: str
    revision: str
    contract_of: list[str]
    calls: list[ast.Call]
    texts: list[tuple[int, str]]


def findings(folder: Path = VERSIONS, after: str = FIRST_RELEASED) -> list[Finding]:
    """What the migrations after a revision do that they may not."""
    files = sorted(folder.glob("[0-9]*.py"))
    known = [read(path) for path in files]
    revisions = [one.revision for one in known]
    return sorted(finding for one in known if one.revision > after for finding in _findings(one, revisions))


def read(path: Path) -> Migration:
    """A migration's file, without what only its way back does."""
    source = path.read_text()
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    marked = [found[1] for one in tokens if one.type == tokenize.COMMENT and (found := MARKER.match(one.string))]
    forward = [one for one in ast.parse(source).body if getattr(one, "name", "") != "downgrade"]
    calls = [node for one in forward for node in ast.walk(one) if isinstance(node, ast.Call)]
    texts = [text for one in forward for text in _texts(one)]
    return Migration(path.name, path.name.partition("_")[0], marked, calls, texts)


def _texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts that are used; one that stands by itself says something to people."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _findings(one: Migration, revisions: Sequence[str]) -> Iterator[Finding]:
    for revision in one.contract_of:
        if revision not in revisions or revision >= one.revision:
            yield Finding(one.file, 1, f"it is said to be the contract of {revision}, which is no earlier revision")
    for line, text in () if one.contract_of else _deeds(one):
        yield Finding(one.file, line, f"{text}; or let it follow a release later, marked `# contract-of: <revision>`")


def _deeds(one: Migration) -> Iterator[tuple[int, str]]:
    new_tables = set(_new_tables(one))
    for call in one.calls:
        for text in _of_call(call, new_tables):
            yield call.lineno, text
    for line, statement in one.texts:
        for text in _of_statement(statement, new_tables):
            yield line, text


def _of_call(node: ast.Call, new_tables: Collection[str]) -> Iterator[str]:
    name = _name(node)
    named = {word.arg: word.value for word in node.keywords}
    table = _table(node, name, named)
    if name in CALLS and table not in new_tables:
        yield CALLS[name]
    if name == "alter_column":
        yield from _of_change(named)
    if name == "add_column" and any(map(_demands, ast.walk(node))):
        yield DEMANDS
    if name == "create_index" and table not in new_tables and not _says(named, "postgresql_concurrently", "True"):
        yield INDEXES
    checks = name in {"create_check_constraint", "create_foreign_key"} and table not in new_tables
    if checks and not _says(named, "postgresql_not_valid", "True"):
        yield CHECKS


def _of_change(named: Mapping[str | None, ast.expr]) -> Iterator[str]:
    if "new_column_name" in named:
        yield RENAMES
    if "type_" in named:
        yield RETYPES
    if _says(named, "nullable", "False"):
        yield DEMANDS


def _of_statement(text: str, new_tables: Collection[str]) -> Iterator[str]:
    for pattern, words in STATEMENTS.items():
        if re.search(pattern, text, ANYHOW):
            yield words
    if any(name.strip('"') not in new_tables for name in re.findall(INDEX, text, ANYHOW)):
        yield INDEXES
    tables = [name.strip('"') for name in re.findall(CONSTRAINT, text, ANYHOW)]
    if any(name not in new_tables for name in tables) and not re.search(r"\bNOT\s+VALID\b", text, re.IGNORECASE):
        yield CHECKS


def _demands(node: ast.AST) -> bool:
    """Whether this is a column that takes no NULL and has no default."""
    if not isinstance(node, ast.Call) or _name(node) != "Column":
        return False
    named = {word.arg: word.value for word in node.keywords}
    return _says(named, "nullable", "False") and "server_default" not in named


def _table(node: ast.Call, name: str, named: Mapping[str | None, ast.expr]) -> str | None:
    """The table that a call is about."""
    place = {"drop_table": 0, "rename_table": 0, "drop_column": 0}.get(name, 1)
    given = named.get("table_name") or (node.args[place] if len(node.args) > place else None)
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else None


def _new_tables(one: Migration) -> Iterator[str]:
    for call in one.calls:
        if _name(call) == "create_table" and call.args and isinstance(call.args[0], ast.Constant):
            yield str(call.args[0].value)
    for _, text in one.texts:
        yield from (name.strip('"(') for name in re.findall(NEW_TABLE, text, ANYHOW))


def _name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _says(named: Mapping[str | None, ast.expr], name: str, value: str) -> bool:
    return name in named and ast.unparse(named[name]) == value


def main() -> int:
    """Prints what was found; 1 when anything was."""
    found = findings()
    for one in found:
        sys.stdout.write(f"migrations/versions/{one}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
