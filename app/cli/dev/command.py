"""`postrider dev`: everything on this machine, until Ctrl-C."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli.dev.account import server_account
from app.cli.dev.demo import APPLICATION, Api, DemoReceiver, Receipt, deliver_first_event
from app.cli.dev.errors import DevError
from app.cli.dev.folder import Folder, State, write_private
from app.cli.dev.homes import remove_copies, remove_home
from app.cli.dev.interrupts import Interrupts, Stopped, end_with_parent
from app.cli.dev.ports import first_free, is_free
from app.cli.dev.process import end_leftovers
from app.cli.dev.roles import DatabaseUrls
from app.cli.dev.stack import Sizes, Stack
from app.cli.dev.supervisor import Supervisor
from app.features.members.arrivals import first_link
from app.features.organisations import operations, queries
from app.features.people.operations import create_owner
from app.kit.db import make_engine, make_sessions

_FIRST_PORT = 8000
_FOLDER = click.Path(path_type=Path, readable=False)  # what is wrong with it is said in a line of our own
_ORGANISATION = "Development"
_OWNER = "owner@localhost"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="The API's port; 8000 or the next free when left out.")
@click.option(
    "--data",
    default=".postrider",
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="The folder.",
)
@click.option("--api-processes", default=Sizes.api, show_default=True, help="Processes that serve requests.")
@click.option("--worker-processes", default=Sizes.worker, show_default=True, help="Processes that deliver.")
@click.option("--with-parent", is_flag=True, help="End when the process that started this one ends.")
@click.option("--forget", is_flag=True, help="Remove the folder with all its data, and start nothing.")
def dev(
    port: int | None,
    data: Path,
    api_processes: int,
    worker_processes: int,
    with_parent: bool,
    forget: bool,
) -> None:
    """Start everything on this machine and deliver a first event.

    PostgreSQL and Redis are started too, unless POSTRIDER_DATABASE__URL and POSTRIDER_REDIS__URL name yours.
    """
    if with_parent:
        end_with_parent()
    interrupts = Interrupts()
    interrupts.install()
    try:
        folder = Folder(data)
        with folder.locked():
            _end_leftovers(folder)
            if forget:
                _forget(folder)
            else:
                _run(folder, interrupts, port, Sizes(api_processes, worker_processes))
    except DevError as error:
        click.echo(f"postrider: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"postrider: {error.filename or 'the system'}: {error.strerror}", err=True)
        sys.exit(1)
    except Stopped:
        click.echo("stopped")


def _run(folder: Folder, interrupts: Interrupts, port: int | None, sizes: Sizes) -> None:
    folder.ready.unlink(missing_ok=True)
    supervisor = Supervisor(folder.pids, interrupts, click.echo)
    try:
        with DemoReceiver(_say_receipt) as receiver:
            try:
                _start(folder, supervisor, receiver, _choose_port(port), sizes)
                supervisor.keep()
            finally:
                interrupts.ignore()
                supervisor.stop()
    finally:
        folder.ready.unlink(missing_ok=True)


def _start(folder: Folder, supervisor: Supervisor, receiver: DemoReceiver, port: int, sizes: Sizes) -> None:
    state = folder.load()
    folder.save(state)
    click.echo(f"Postrider starts; data and logs are in {_shown(folder.path)}")
    stack = Stack(folder, state, supervisor, _say_part)
    urls = stack.databases()
    stack.configure(urls, stack.redis(), port)
    _timed("migrate", stack.migrate)
    _timed("api", lambda: stack.api(port, sizes.api, Api(port).is_healthy))
    stack.beat()
    _timed("worker", lambda: stack.worker(sizes.worker))
    api = _sign_in(folder, state, urls, port)
    latency = deliver_first_event(api, receiver, supervisor.check)
    _say_part("demo", f"event delivered, signature verified, {latency:.0f} ms from POST to receipt")
    _say_ready(folder, state, port, _owner_link(urls, f"http://localhost:{port}"))


def _sign_in(folder: Folder, state: State, urls: DatabaseUrls, port: int) -> Api:
    """An API client with the key of last time, or a new one when this database does not know it."""
    if not state.api_key or not Api(port, state.api_key).knows_key():
        state.api_key = _create_key(urls.migrator)
        folder.save(state)
    return Api(port, state.api_key)


def _create_key(migrator_url: str) -> str:
    with _migrator(migrator_url) as db:
        _, text = operations.create_key(db, _organisation(db), operations.NewKey("made by postrider dev", "live"))
        return text


def _owner_link(urls: DatabaseUrls, base_url: str) -> str | None:
    """A link for the first owner, as long as it has no other way in."""
    with _migrator(urls.migrator) as db:
        return first_link(db, create_owner(db, _organisation(db), _OWNER), base_url)


def _organisation(db: Session) -> UUID:
    known = {name: organisation_id for organisation_id, name in db.execute(queries.organisations())}
    return known.get(_ORGANISATION) or operations.create_organisation(db, _ORGANISATION)


@contextmanager
def _migrator(url: str) -> Iterator[Session]:
    engine = make_engine(url, pool_size=1, name="postrider-dev")
    try:
        with make_sessions(engine).begin() as db:
            yield db
    finally:
        engine.dispose()


def _choose_port(asked: int | None) -> int:
    if asked is not None and not is_free(asked):
        raise DevError(f"port {asked} is taken")
    port = asked or first_free(_FIRST_PORT)
    if port is None:
        raise DevError(f"no port from {_FIRST_PORT} upwards is free")
    return port


def _end_leftovers(folder: Folder) -> None:
    ended = end_leftovers(folder.pids, str(folder.path))
    if ended:
        click.echo(f"ended what a killed supervisor left behind: {', '.join(ended)}")


def _forget(folder: Folder) -> None:
    for name in ("postgres", "redis"):
        remove_home(folder.path / name)
    if server_account():
        remove_copies()
    click.echo(f"removed the data of {_shown(folder.path)}")


def _timed(name: str, start: Callable[[], None]) -> None:
    began = time.monotonic()
    start()
    _say_part(name, f"ready after {time.monotonic() - began:.1f} s")


def _say_part(name: str, what: str) -> None:
    click.echo(f"  {name:<9} {what}")


def _say_receipt(receipt: Receipt) -> None:
    how = "signature verified" if receipt.verified else "signature does NOT verify"
    click.echo(f"  demo receiver got {receipt.message_id or 'a request'}: {how}")


def _say_ready(folder: Folder, state: State, port: int, link: str | None) -> None:
    url = f"http://localhost:{port}"
    write_private(folder.ready, f"POSTRIDER_URL={url}\nPOSTRIDER_API_KEY={state.api_key}\n")
    click.echo(f"""
Base URL  {url}
API key   {state.api_key}
Sign in   {link or f"{url}/sign-in, as {_OWNER}"}
Try       curl -X POST {url}/api/v1/app/{APPLICATION}/msg \\
            -H 'Authorization: Bearer {state.api_key}' -H 'Content-Type: application/json' \\
            -d '{{"eventType": "demo.hello", "payload": {{"hello": "world"}}}}'
URL and key are in {_shown(folder.ready)} too. Ctrl-C stops everything.""")


def _shown(path: Path) -> str:
    return os.path.relpath(path)
