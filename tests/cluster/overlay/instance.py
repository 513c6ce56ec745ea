"""One instance of PostgreSQL in its pod: it begins in its role, and says on the pod which one that is.

It stands for the instance manager of CloudNativePG and does what the Cluster of staging asks for; who is to lead stands
in a file beside the archive, where that operator has the Cluster's status.

    instance.py run             the pod's process
    instance.py demote          has the one that leads end, and begin again behind the other
    instance.py appoint         has every instance that begins from now on follow this one
    instance.py back-up         a copy of all data, from which `restore` can begin
    instance.py restore         the pod's process: as it was at RESTORE_TO, by the archive of RESTORE_FROM
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECRETS = Path("/etc/passwords")
RUN = Path("/run/postgresql")
DATA = Path("/var/lib/postgresql/data")
CLUSTER = os.environ["CLUSTER"]
NAME = os.environ["POD_NAME"]
ARCHIVE = Path("/archive") / CLUSTER
LEADER = ARCHIVE / "leader"
CONFIGURATION = RUN / "postgresql.conf"
REPLICA = "streaming_replica"
TICK_SECONDS = 0.5
END_SECONDS = 60
ROLE_LABEL = "cnpg.io/instanceRole"
# What pg_rewind reads the other's files by.
FILE_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


def main(word: str) -> int:
    """The exit status."""
    commands = {"run": run, "restore": restore, "demote": demote, "appoint": appoint, "back-up": back_up}
    # The first process of a pod is ended by nothing that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return commands[word]()


def run() -> int:
    """Keeps the server; ends with it, but where it was told to end so that it begins anew."""
    ARCHIVE.joinpath("wal").mkdir(parents=True, exist_ok=True)
    configure(follows(settings()))
    while True:
        prepare()
        if code := served(peer()):
            return code


def restore() -> int:
    """The same for an instance that begins with the past of another cluster, and goes on by itself from there."""
    ARCHIVE.joinpath("wal").mkdir(parents=True, exist_ok=True)
    source = Path("/archive") / os.environ["RESTORE_FROM"]
    until = {
        "restore_command": f'cp "{source}/wal/%f" "%p"',
        "recovery_target_time": os.environ["RESTORE_TO"],
        "recovery_target_action": "promote",
    }
    configure({**settings(), **until, "synchronous_standby_names": ""})
    if not DATA.joinpath("PG_VERSION").exists():
        copied(source / "base" / os.environ["RESTORE_BASE"])
        DATA.joinpath("recovery.signal").touch()
    return served("")


def demote() -> int:
    """Nobody is led here any more when this ends, and all that was committed is on the other as well."""
    LEADER.write_text(peer())
    say_role("replica")
    DATA.joinpath("standby.signal").touch()
    server = int(DATA.joinpath("postmaster.pid").read_text().split()[0])
    os.kill(server, signal.SIGINT)
    # By its number, for the next one begins at once.
    deadline = time.monotonic() + END_SECONDS
    while lives(server):
        if time.monotonic() > deadline:
            raise SystemExit(f"the server does not end within {END_SECONDS} s")
        time.sleep(TICK_SECONDS / 10)
    return 0


def lives(pid: int) -> bool:
    """Whether there is a process of this number."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def appoint() -> int:
    """Before the other one is killed, so that it does not come back as what it was."""
    LEADER.write_text(NAME)
    return 0


def back_up() -> int:
    """Prints its name, which is when it was whole."""
    half = ARCHIVE / "base" / "half"
    half.parent.mkdir(exist_ok=True)
    shutil.rmtree(half, ignore_errors=True)
    call(
        "pg_basebackup", f"--pgdata={half}", "--checkpoint=fast", "--wal-method=none", "--no-password", f"--host={RUN}"
    )
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    half.rename(half.with_name(name))
    sys.stdout.write(f"{name}\n")
    return 0


def prepare() -> None:
    """Has the data directory be what the instance is to be: the leader's, or one that follows it."""
    leader = LEADER.read_text() if LEADER.exists() else ""
    if not DATA.joinpath("PG_VERSION").exists():
        if not leader and NAME.endswith("-0"):
            initialise()
        elif leader == NAME:
            raise SystemExit(f"{NAME} leads and has no data: have the other one lead first")
        else:
            follow_from_a_copy()
    elif leader != NAME and not DATA.joinpath("standby.signal").exists():
        follow_again()


def served(follower: str) -> int:
    """Runs the server until it ends, and answers how; whoever ends the pod ends it first."""
    server = subprocess.Popen(["postgres", f"--config-file={CONFIGURATION}", "-D", str(DATA)])
    said = ""
    try:
        while server.poll() is None:
            said = tended(said, follower)
            time.sleep(TICK_SECONDS)
    except SystemExit:
        # Connections are cut, what is committed is sent to the standby, and nothing has to be recovered.
        server.send_signal(signal.SIGINT)
        server.wait()
        raise
    return server.returncode


def tended(said: str, follower: str) -> str:
    """The role that the instance has told everybody, once it has: by slots for those who follow, and on its pod."""
    role = {"in production": "primary", "in archive recovery": "replica"}.get(state(), "")
    if role in {"", said} or not settled(role, follower):
        return said
    try:
        say_role(role)
    except OSError as error:
        log(f"the API server cannot be told that this is a {role}: {error}")
        return said
    return role


def state() -> str:
    """What the server is doing, in its own words."""
    done = subprocess.run(["pg_controldata", str(DATA)], capture_output=True, text=True, check=True)
    return next(line.partition(":")[2].strip() for line in done.stdout.splitlines() if "cluster state:" in line)


def settled(role: str, follower: str) -> bool:
    """Keeps a log for the one who follows, and none where nobody does; whether the server took it."""
    if role == "replica":
        query = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
    else:
        query = (
            f"SELECT pg_create_physical_replication_slot(wanted, true) FROM (VALUES ({text(slot(follower))})) AS one"  # noqa: S608 a name of ours
            " (wanted) WHERE wanted <> '' AND wanted <> ALL (SELECT slot_name FROM pg_replication_slots)"
        )
    return answered(query) is not None


def initialise() -> None:
    """A new cluster with its roles and its database, as the Cluster says."""
    asked = cluster()["bootstrap"]["initdb"]
    half = DATA.with_name("half")
    shutil.rmtree(half, ignore_errors=True)
    locale = [
        f"--locale-provider={asked['localeProvider']}",
        f"--builtin-locale={asked['builtinLocale']}",
        "--locale=C",
    ]
    checked = "--data-checksums" if asked["dataChecksums"] else "--no-data-checksums"
    call("initdb", f"--pgdata={half}", "--username=postgres", f"--encoding={asked['encoding']}", *locale, checked)
    # Nobody follows yet, so nobody is waited for.
    alone = "-c listen_addresses= -c synchronous_standby_names= -c archive_mode=off"
    by = f"--options=--config-file={CONFIGURATION} {alone}"
    call("pg_ctl", "start", f"--pgdata={half}", "--wait", by)
    try:
        psql("\n".join(roles(asked)), "postgres")
    finally:
        call("pg_ctl", "stop", f"--pgdata={half}", "--mode=fast")
    half.rename(DATA)
    LEADER.write_text(NAME)


def roles(asked: Mapping[str, Any]) -> Iterator[str]:
    """Statements that make the roles that log in, and the database."""
    owner = {"name": asked["owner"], "passwordSecret": asked["secret"]}
    replica = {"name": REPLICA, "passwordSecret": {"name": "postgres-replication"}, "replication": True}
    for role in [owner, replica, *cluster()["managed"]["roles"]]:
        password = SECRETS.joinpath(role["passwordSecret"]["name"], "password").read_text()
        may = "REPLICATION" if role.get("replication") else "NOREPLICATION"
        most = role.get("connectionLimit", -1)
        yield f"CREATE ROLE {role['name']} LOGIN {may} CONNECTION LIMIT {most} PASSWORD {text(password)};"
    for function in FILE_FUNCTIONS:
        yield f"GRANT EXECUTE ON FUNCTION {function} TO {REPLICA};"
    yield f"CREATE DATABASE {asked['database']} OWNER {asked['owner']};"


def follow_from_a_copy() -> None:
    """Once the other one leads and has a slot for this one."""
    half = DATA.with_name("half")
    words = [f"--pgdata={half}", "--checkpoint=fast", "--wal-method=stream", f"--slot={slot(NAME)}", "--no-password"]
    while True:
        shutil.rmtree(half, ignore_errors=True)
        done = subprocess.run(["pg_basebackup", *words, f"--dbname={at_peer()}"], check=False)
        if done.returncode == 0:
            break
        time.sleep(1)
    half.joinpath("standby.signal").touch()
    half.rename(DATA)


def follow_again() -> None:
    """Takes back what the one that leads now has never seen."""
    while answered("SELECT pg_is_in_recovery()", f"{at_peer()} dbname=postgres") != "f":
        log(f"{peer()} does not lead yet")
        time.sleep(1)
    source = f"--source-server={at_peer()} dbname=postgres"
    words = ["pg_rewind", f"--target-pgdata={DATA}", source, f"--config-file={CONFIGURATION}", "--progress"]
    if subprocess.run(words, check=False).returncode:
        log("it cannot be rewound: it begins from a copy")
        shutil.rmtree(DATA)
        follow_from_a_copy()
    DATA.joinpath("standby.signal").touch()


def copied(base: Path) -> None:
    """The data directory as a backup has it."""
    half = DATA.with_name("half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(base, half)
    half.chmod(0o700)
    half.rename(DATA)


def settings() -> dict[str, str]:
    """What the Cluster asks for, and what its operator adds."""
    asked = cluster()["postgresql"]
    synchronous = asked["synchronous"]
    return {
        "listen_addresses": "*",
        "unix_socket_directories": str(RUN),
        "hba_file": str(RUN / "pg_hba.conf"),
        "wal_level": "replica",
        "hot_standby": "on",
        "max_slot_wal_keep_size": "2GB",
        "archive_mode": "on",
        "archive_command": f'sh {HERE}/archive.sh "%p" "%f"',
        "archive_timeout": "5min",
        "synchronous_commit": "on",
        "synchronous_standby_names": f'{synchronous["method"].upper()} {synchronous["number"]} ("{peer()}")',
        **asked["parameters"],
    }


def follows(said: Mapping[str, str]) -> dict[str, str]:
    """The same, and whom it follows when it does not lead."""
    archived = {"restore_command": f'cp "{ARCHIVE}/wal/%f" "%p"'}
    return {**said, **archived, "primary_conninfo": at_peer(NAME), "primary_slot_name": slot(NAME)}


def configure(said: Mapping[str, str]) -> None:
    """Writes the files by which the server begins; passwords are nobody else's to read."""
    os.umask(0o077)
    RUN.mkdir(exist_ok=True)
    password = SECRETS.joinpath("postgres-replication", "password").read_text()
    RUN.joinpath("passwords").write_text(f"*:*:*:{REPLICA}:{password}\n")
    RUN.joinpath("pg_hba.conf").write_text(
        "local all postgres peer\nlocal replication postgres peer\n"
        f"host replication {REPLICA} all scram-sha-256\nhost all all all scram-sha-256\n"
    )
    CONFIGURATION.write_text("".join(f"{name} = {text(value)}\n" for name, value in said.items()))


def cluster() -> Any:  # noqa: ANN401 JSON
    """The specification of the Cluster."""
    return json.loads(HERE.parent.joinpath("cluster", "cluster.json").read_text())


def peer() -> str:
    """The other instance."""
    name, _, number = NAME.rpartition("-")
    return f"{name}-{1 - int(number)}"


def at_peer(name: str = "copy") -> str:
    """How the other instance is connected to, by a name that counts as a standby's only where it is one."""
    host = f"{peer()}.{CLUSTER}-instances"
    return f"host={host} user={REPLICA} passfile={RUN}/passwords connect_timeout=5 application_name={name}"


def slot(name: str) -> str:
    """By whose name a log is kept for an instance."""
    return name.replace("-", "_")


def answered(query: str, where: str = f"host={RUN} user=postgres dbname=postgres") -> str | None:
    """What a server answers; None where it does not."""
    words = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--no-password", f"--command={query}", where]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def psql(statements: str, database: str) -> None:
    """Executes them as the superuser."""
    words = [
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        f"--host={RUN}",
        "--username=postgres",
        database,
    ]
    subprocess.run(words, input=statements, text=True, check=True)


def say_role(role: str) -> None:
    """Labels the pod, by which the Services find it; OSError where the API server is away."""
    port = int(os.environ["KUBERNETES_SERVICE_PORT"])
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    connection = http.client.HTTPSConnection(os.environ["KUBERNETES_SERVICE_HOST"], port, context=trust, timeout=5)
    namespace, token = (ACCOUNT.joinpath(name).read_text() for name in ("namespace", "token"))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"labels": {ROLE_LABEL: role}}})
    with contextlib.closing(connection):
        connection.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/{NAME}", body, headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise ConnectionError(f"{answer.status} {answer.read(300)!r}")


def call(*words: str) -> None:
    """CalledProcessError when it fails."""
    subprocess.run(words, check=True, stdout=sys.stderr)


def text(said: str) -> str:
    """As SQL and the server's own files write it."""
    return "'" + said.replace("'", "''") + "'"


def log(said: str) -> None:
    """Beside what the server says."""
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
