"""What every measurement works with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.bench.figures import Figures
from app.cli.bench.machine import Machine
from app.cli.bench.plan import Plan
from app.cli.bench.tools import Receiver, run_module
from app.cli.bench.wire import write_callers
from app.cli.bench.world import Tenant, make_tenants, write_tenants
from app.cli.dev.roles import DatabaseUrls

DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Bench:
    """The machine, its main database with tenants, the receiver, and where results go."""

    machine: Machine
    plan: Plan
    figures: Figures
    receiver: Receiver
    urls: DatabaseUrls
    tenants: list[Tenant]
    say: Callable[[str], None]

    @property
    def tenants_file(self) -> Path:
        """The tenants, for the references."""
        return self.machine.folder / "tenants.json"

    def load(self, url: str, *words: str) -> Any:  # noqa: ANN401 JSON
        """Runs the load generator on a server."""
        return run_module("app.cli.bench.accept", f"--url={url}", f"--keys-file={_callers_file(self.machine)}", *words)

    def forget_backlog(self) -> None:
        """Owes nothing any more."""
        self.machine.execute("TRUNCATE due_deliveries, endpoint_gates", DATABASE)


def prepare(machine: Machine, plan: Plan, receiver: Receiver, say: Callable[[str], None]) -> Bench:
    """Makes the main database and its tenants."""
    urls = machine.database(DATABASE)
    tenants = make_tenants(urls.migrator, machine.ring, receiver.url)
    bench = Bench(machine, plan, Figures(plan, machine.processes), receiver, urls, tenants, say)
    write_tenants(bench.tenants_file, bench.tenants)
    write_callers(_callers_file(machine), [one.caller() for one in bench.tenants])
    return bench


def _callers_file(machine: Machine) -> Path:
    return machine.folder / "callers.jsonl"
