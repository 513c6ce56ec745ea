"""One URL that may create roles becomes three that may not."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from app.cli.dev.errors import DevError
from app.cli.dev.roles import DatabaseUrls, create_roles, named_in, plain_url
from app.cli.embedded import embedded_postgres


@pytest.fixture(scope="module")
def admin_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_postgres(tmp_path_factory.mktemp("roles")) as url:
        yield url


@pytest.fixture(scope="module")
def roles(admin_url: str) -> DatabaseUrls:
    return create_roles(admin_url)


def test_three_roles_reach_the_database(roles: DatabaseUrls) -> None:
    assert [_who(url) for url in (roles.api, roles.worker, roles.migrator)] == [
        ("postrider_api", "postrider", False, False),
        ("postrider_worker", "postrider", False, False),
        ("postrider_migrator", "postrider", False, False),
    ]


def test_only_the_migrator_makes_tables(roles: DatabaseUrls) -> None:
    with psycopg.connect(roles.migrator) as migrator:
        migrator.execute("CREATE TABLE made ()")
        migrator.rollback()
    for url in (roles.api, roles.worker):
        with psycopg.connect(url) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("CREATE TABLE made ()")


def test_a_second_time_changes_nothing(admin_url: str, roles: DatabaseUrls) -> None:
    assert create_roles(admin_url) == roles
    assert len({roles.api, roles.worker, roles.migrator}) == 3


def test_a_named_database_is_the_one_that_is_used(admin_url: str, roles: DatabaseUrls) -> None:
    named = create_roles(admin_url, database="elsewhere")
    assert _who(named.migrator)[1] == "elsewhere"
    assert create_roles(admin_url.removesuffix("postgres") + "elsewhere") == named
    assert urlsplit(named.api).password == urlsplit(roles.api).password


def test_a_role_that_may_create_roles_suffices(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE ROLE maker LOGIN CREATEROLE CREATEDB PASSWORD 'maker'")
        made = create_roles(_as(url, "maker"))
        assert made == create_roles(_as(url, "maker"))
        assert _who(made.migrator) == ("postrider_migrator", "postrider", False, False)


def test_a_role_that_may_not_is_told_what_is_missing(admin_url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    with pytest.raises(DevError, match="WORKER_URL and POSTRIDER_DATABASE__MIGRATOR_URL") as caught:
        create_roles(_as(admin_url, "plain"))
    assert caught.value.exit_code == 2


def test_a_role_above_row_security_is_refused(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE ROLE postrider_api LOGIN BYPASSRLS")
        with pytest.raises(DevError, match="may bypass row-level security"):
            create_roles(url)


def test_an_unreachable_server_is_one_line_without_the_password() -> None:
    with pytest.raises(DevError, match=r"127\.0\.0\.1:1/postgres does not answer") as caught:
        create_roles("postgresql://admin:hush@127.0.0.1:1/postgres")
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("given", "missing"), [("WORKER_URL", "MIGRATOR_URL"), ("MIGRATOR_URL", "WORKER_URL")])
def test_two_urls_of_three_are_not_enough(given: str, missing: str) -> None:
    environment = {
        "POSTRIDER_DATABASE__URL": "postgresql://a@h/d",
        f"POSTRIDER_DATABASE__{given}": "postgresql://b@h/d",
    }
    with pytest.raises(DevError, match=f"POSTRIDER_DATABASE__{missing} is not set"):
        named_in(environment)


def test_a_url_of_sqlalchemy_is_read_by_libpq() -> None:
    assert plain_url("postgresql+asyncpg://a:b@h/d") == "postgresql://a:b@h/d"
    assert plain_url("postgresql://a+b:c@h/d") == "postgresql://a+b:c@h/d"


def _as(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{role}@{parts.hostname}:{parts.port}"))


def _who(url: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT current_user, current_database(), rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row is not None
    return row
