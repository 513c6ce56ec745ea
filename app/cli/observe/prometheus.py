"""Prometheus, and Debian's exporters for PostgreSQL and Redis, on an installation of this machine."""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from app.cli.dev.errors import DevError
from app.cli.dev.ports import LOOPBACK, any_free, first_free
from app.cli.dev.process import Program, wait_until
from app.cli.dev.roles import plain_url

PROMETHEUS, POSTGRES, REDIS = "prometheus", "prometheus-postgres-exporter", "prometheus-redis-exporter"
_PROMETHEUS_PORT = 9090
_PROMETHEUS, _EXPORTER = 10, 20
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Stores:
    """The URLs of the databases of an installation."""

    postgres: str
    redis: str


@dataclass(frozen=True, slots=True)
class Watch:
    """What watches: its files are in `folder`, `targets` says where processes tell of themselves."""

    folder: Path
    targets: Path
    rules: Sequence[Path]
    stores: Stores
    seconds: int = 5


def programs(watch: Watch) -> Iterator[Program]:
    """What is to run; where Prometheus answers is written to `url` in the folder. DevError where one is missing."""
    for name in (PROMETHEUS, POSTGRES, REDIS):
        if shutil.which(name) is None:
            raise DevError(f"{name} is missing: apt-get install prometheus {POSTGRES} {REDIS}")
    postgres, redis = any_free(), any_free()
    port = first_free(_PROMETHEUS_PORT) or any_free()
    file = watch.folder / "prometheus.json"
    file.write_text(json.dumps(configuration(watch, {"postgres": postgres, "redis": redis}), indent=1))
    (watch.folder / "url").write_text(f"http://localhost:{port}")
    yield _postgres_exporter(watch, postgres)
    yield _redis_exporter(watch, redis)
    words = [
        f"--config.file={file}",
        f"--storage.tsdb.path={watch.folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--enable-feature=exemplar-storage",
    ]
    yield Program(PROMETHEUS, [PROMETHEUS, *words], _log(watch, PROMETHEUS), _PROMETHEUS, cwd=watch.folder)


def pages(url: str) -> dict[str, str]:
    """Where somebody may look at a Prometheus that has just been started. DevError where it does not answer in time.

    Others have the pages where Debian has `/classic`: the first page of each knows.
    """
    found: list[str] = []

    def answers() -> bool:
        # The URL is that of the Prometheus started here.
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as first:  # noqa: S310  # nosec B310
            found.append(first.geturl().rpartition("/")[0])
        return bool(found)

    if not wait_until(answers, _START_SECONDS):
        raise DevError(f"Prometheus does not answer on {url}: why is in observe/prometheus.log of the data folder")
    return {name: f"{found[0]}/{name}" for name in ("alerts", "rules", "targets")}


def configuration(watch: Watch, exporters: dict[str, int]) -> dict[str, Any]:
    """Prometheus' own, as JSON, which is YAML."""
    every = f"{watch.seconds}s"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(file.absolute()) for file in watch.rules],
        "scrape_configs": [
            {
                "job_name": "postrider",
                "file_sd_configs": [{"files": [str(watch.targets.absolute())], "refresh_interval": every}],
            },
            *(
                {"job_name": name, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
                for name, port in exporters.items()
            ),
        ],
    }


def _postgres_exporter(watch: Watch, port: int) -> Program:
    environment = {**os.environ, "DATA_SOURCE_NAME": f"{plain_url(watch.stores.postgres)}?sslmode=disable"}
    words = [POSTGRES, f"--web.listen-address={LOOPBACK}:{port}"]
    return Program(POSTGRES, words, _log(watch, POSTGRES), _EXPORTER, env=environment)


def _redis_exporter(watch: Watch, port: int) -> Program:
    where = urlsplit(watch.stores.redis)
    environment = {**os.environ, "REDIS_PASSWORD": unquote(where.password or "")}
    address = f"redis://{where.hostname}:{where.port or 6379}"
    words = [REDIS, f"-web.listen-address={LOOPBACK}:{port}", f"-redis.addr={address}"]
    return Program(REDIS, words, _log(watch, REDIS), _EXPORTER, env=environment)


def _log(watch: Watch, name: str) -> Path:
    log = watch.folder / f"{name}.log"
    log.touch(mode=0o600)
    return log
