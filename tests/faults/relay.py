"""A wire between a process and a server that can be cut: then it lets nothing through, and closes nothing."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.cli.dev.ports import LOOPBACK, any_free
from app.cli.dev.process import Child, Program
from tests.faults.processes import frozen, wait_for
from tests.servers import ROOT


class Relay:
    """The wire as the tests see it."""

    def __init__(self, port: int, child: Child) -> None:
        self.port, self._child = port, child

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing passes for the length of the block; both sides think that the other is slow."""
        with frozen([self._child.pid]):
            yield


@contextmanager
def running_relay(folder: Path, target: int) -> Iterator[Relay]:
    """A wire to a port of loopback."""
    port = any_free()
    argv = [sys.executable, "-m", "tests.faults.relay", str(port), str(target)]
    child = Child(Program(f"relay-{target}", argv, folder / f"relay-{target}.log", cwd=ROOT, stop_seconds=5), folder)
    try:
        wait_for(lambda: "ready" in child.program.log.read_text(), 20, "a relay")
        yield Relay(port, child)
    finally:
        child.stop()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _serve(port: int, target: int) -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, target)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    async with await asyncio.start_server(accepted, LOOPBACK, port) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
