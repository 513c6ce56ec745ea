"""Migrations only add; what takes away says that it follows a release later."""

from pathlib import Path

import pytest

from tests.architecture.migrations import findings

HEAD = '''"""What it is for."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
'''
REFUSED = {
    'op.drop_table("messages")': "drops",
    'op.drop_column("messages", "body")': "drops",
    'op.execute("DROP FUNCTION find_user(text)")': "drops",
    'op.execute("ALTER TABLE messages DROP COLUMN body")': "drops",
    'op.rename_table("messages", "events")': "renames",
    'op.alter_column("messages", "body", new_column_name="payload")': "renames",
    'op.execute("ALTER TABLE messages RENAME COLUMN body TO payload")': "renames",
    'op.alter_column("messages", "body", type_=sa.Text())': "changes a type",
    'op.execute("ALTER TABLE messages ALTER COLUMN body TYPE text")': "changes a type",
    'op.alter_column("messages", "body", nullable=False)': "demands values",
    'op.execute("ALTER TABLE messages ALTER COLUMN body SET NOT NULL")': "demands values",
    'op.add_column("messages", sa.Column("more", sa.Text(), nullable=False))': "demands values",
    'op.execute("ALTER TABLE messages ADD COLUMN more text NOT NULL")': "demands values",
    'op.create_index("ix_more", "messages", ["more"])': "locks out writers while it makes an index",
    'op.create_unique_constraint("uq_more", "messages", ["more"])': "locks out writers while it makes an index",
    'op.execute("CREATE UNIQUE INDEX ix_more ON messages (more)")': "locks out writers while it makes an index",
    'op.create_check_constraint("ck_more", "messages", "more > 0")': "locks out writers while it looks",
    'op.create_foreign_key("fk_more", "messages", "others", ["more"], ["id"])': "locks out writers while it looks",
    'op.execute("ALTER TABLE messages ADD CONSTRAINT ck_more CHECK (more > 0)")': "locks out writers while it looks",
    'op.execute("TRUNCATE messages")': "empties a table",
    'with op.batch_alter_table("messages") as batch:\n        batch.drop_column("body")': "drops",
    'for name in ("a", "b"):\n        op.execute(f"ALTER TABLE {name} DROP COLUMN body")': "drops",
}
ALLOWED = [
    'op.add_column("messages", sa.Column("more", sa.Text(), nullable=True))',
    'op.add_column("messages", sa.Column("more", sa.Text(), nullable=False, server_default=""))',
    "op.execute(\"ALTER TABLE messages ADD COLUMN more text NOT NULL DEFAULT ''\")",
    'op.create_index("ix_more", "messages", ["more"], postgresql_concurrently=True)',
    'op.execute("CREATE INDEX CONCURRENTLY ix_more ON messages (more)")',
    'op.create_foreign_key("fk_more", "messages", "others", ["more"], ["id"], postgresql_not_valid=True)',
    'op.execute("ALTER TABLE messages ADD CONSTRAINT ck_more CHECK (more > 0) NOT VALID")',
    'op.execute("ALTER TABLE messages VALIDATE CONSTRAINT ck_more")',
    'op.create_table("news", sa.Column("id", sa.Uuid(), nullable=False))\n    op.create_index("ix_id", "news", ["id"])',
    'op.execute("CREATE TABLE news (id uuid)")\n    op.execute("CREATE INDEX ix_id ON news (id)")',
    'op.alter_column("messages", "more", nullable=True)',
]


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    (tmp_path / "0012_before.py").write_text(HEAD.replace("0012", "0011").replace("0013", "0012"))
    return tmp_path


def written(versions: Path, upgrade: str, *more: str) -> list[str]:
    """What is found in a migration that does this."""
    text = "\n".join([HEAD, *more, "def upgrade() -> None:", f"    {upgrade}", ""])
    (versions / "0013_next.py").write_text(text)
    return [one.text for one in findings(versions)]


def test_ours_keep_to_it() -> None:
    assert findings() == []


@pytest.mark.parametrize(("upgrade", "words"), REFUSED.items())
def test_what_would_break_or_hold_up_the_release_before_is_refused(versions: Path, upgrade: str, words: str) -> None:
    (found,) = written(versions, upgrade)

    assert found.startswith(words)
    assert found.endswith("marked `# contract-of: <revision>`")


@pytest.mark.parametrize("upgrade", ALLOWED)
def test_what_only_adds_is_allowed(versions: Path, upgrade: str) -> None:
    assert written(versions, upgrade) == []


def test_what_follows_an_earlier_revision_may_take_away(versions: Path) -> None:
    assert written(versions, 'op.drop_column("messages", "body")', "# contract-of: 0012") == []


@pytest.mark.parametrize("revision", ["0013", "0014", "later"])
def test_it_names_a_revision_that_came_before(versions: Path, revision: str) -> None:
    assert written(versions, 'op.drop_column("messages", "body")', f"# contract-of: {revision}") == [
        f"it is said to be the contract of {revision}, which is no earlier revision"
    ]


def test_the_words_in_a_text_are_no_marker(versions: Path) -> None:
    assert len(written(versions, 'op.drop_column("messages", "body")', 'NOTE = "# contract-of: 0012"')) == 1


def test_the_way_back_may_take_away_what_the_way_there_added(versions: Path) -> None:
    back = 'def downgrade() -> None:\n    op.drop_column("messages", "more")\n\n'
    assert written(versions, 'op.add_column("messages", sa.Column("more", sa.Text()))', back) == []


def test_a_statement_that_a_constant_holds_is_seen(versions: Path) -> None:
    (found,) = written(versions, "op.execute(CHANGE)", 'CHANGE = "ALTER TABLE messages DROP COLUMN body"')
    assert found.startswith("drops")


def test_it_finds_what_was_done_before_anybody_had_installed_it() -> None:
    assert {one.file for one in findings(after="0000")} >= {"0003_environments.py"}
