"""The gateway follows what a cluster says of it: a real API server before it, a real NGINX behind it."""

import base64
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from app.cli.dev.ports import any_free
from tests.cluster.gateway.node import gateway_objects
from tests.cluster.gateway.wanted import GATEWAY, NGINX
from tests.cluster.standing import Pod, account
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.chart.helm import render, values_of
from tests.deploy.edge.client import HOST, Door
from tests.deploy.edge.nginx import Edge
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

ENOUGH, FOLLOWED_SECONDS = 400, 2.0
# A reload closes connections that rest, and those that have not come so far as to ask, too.
CLOSED = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
STABLE, CANARY = "postrider-api-stable", "postrider-api-canary"
HSTS = "Strict-Transport-Security"
OUR_KINDS = {"HTTPRoute", "ClientSettingsPolicy", "SnippetsFilter", "RateLimitPolicy"}


@dataclass
class Stage:
    """A cluster with a stable and a canary backend, and the gateway's door to them."""

    kube: ApiServer
    door: Door
    folder: Path
    stable: Sequence[Pod]
    canary: Pod
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the gateway wrote."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """The gateway, in the name of its account."""
        kubeconfig = account(self.kube, gateway_objects(), self.folder / "kubeconfig")
        words = [f"--kubeconfig={kubeconfig}", f"--folder={self.folder / 'nginx'}", "--address=127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            # Every change is looked at by itself.
            command = [sys.executable, "-m", "tests.cluster.gateway", "--pause=0.5", *words]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> int | None:
        """By a signal; answers with what it had ended by itself before."""
        assert self.process is not None
        before = self.process.poll()
        self.process.send_signal(number)
        self.process.wait(20)
        return before

    def is_open(self) -> bool:
        """Whether somebody listens."""
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.door.edge.https)) == 0

    def weigh(self, stable: int, canary: int) -> None:
        """Does to the route what Argo Rollouts' plugin does to it."""
        route = self.kube.get(GATEWAY, "HTTPRoute", "postrider")
        (rule,) = route["spec"]["rules"]
        for ref, weight in zip(rule["backendRefs"], (stable, canary), strict=True):
            ref["weight"] = weight
        self.kube.patch(GATEWAY, "HTTPRoute", "postrider", {"spec": route["spec"]})

    def ready(self, pod: Pod, service: str, *, ready: bool) -> None:
        """Does to the pod's endpoint what its probes would."""
        self.kube.apply(pod.slice(service, "http", ready=ready))

    def names(self, count: int = ENOUGH) -> Counter[str]:
        """Who answers so many requests; a connection that is closed while it rests is opened again."""
        found: Counter[str] = Counter()
        while found.total() < count:
            connection = http.client.HTTPConnection(HOST)
            with suppress(*CLOSED), self.door.connect() as connection.sock:
                is_last = False
                while not is_last and found.total() < count:
                    connection.request("GET", "/200")
                    answer = connection.getresponse()
                    assert answer.status == 200
                    is_last = answer.will_close
                    found[answer.read().decode()] += 1
        return found

    @property
    def reloads(self) -> int:
        """How often NGINX was given a configuration that it took."""
        return self.log.count("nginx works by")

    def conditions(self, kind: str, name: str) -> dict[str, tuple[str, str]]:
        """What is told of the Gateway or of a route: state and message of each condition."""
        status = self.kube.get(GATEWAY, kind, name).get("status", {})
        (told,) = status["parents"] if kind == "HTTPRoute" else [status]
        return {one["type"]: (one["status"], one["message"]) for one in told["conditions"]}


def soon(condition: Callable[[], bool], seconds: float = FOLLOWED_SECONDS) -> None:
    """Waits until it is so, and not longer than a change may take to arrive."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def stage(kubernetes: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """It begins without the certificate, which comes as late as one that has to be issued."""
    folder = tmp_path_factory.mktemp("gateway")
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    edge = Edge(folder, folder, folder, any_free(), any_free())
    with ExitStack() as stack:
        stable = [stack.enter_context(Pod(f"stable-{number}")) for number in range(2)]
        canary = stack.enter_context(Pod("canary"))
        for one in _objects(edge):
            kubernetes.apply(one)
        found = Stage(kubernetes, Door(edge, trust), folder, stable, canary)
        for pod in stable:
            found.ready(pod, STABLE, ready=True)
        found.ready(canary, CANARY, ready=True)
        stack.enter_context(_running(found))
        routes = ("postrider", "postrider-plain")
        soon(lambda: all("status" in kubernetes.get(GATEWAY, "HTTPRoute", one) for one in routes), 20)
        assert found.conditions("HTTPRoute", "postrider")["Accepted"][0] == "False"
        assert found.conditions("HTTPRoute", "postrider-plain")["Accepted"] == ("True", "")
        kubernetes.apply(_certificate(authority))
        soon(lambda: found.conditions("HTTPRoute", "postrider")["Accepted"][0] == "True", 5)
        yield found


def _objects(edge: Edge) -> Iterator[Manifest]:
    """What the chart makes of the way in, its Services, and the Gateway, at ports that are free here."""
    rendered = render(values_of("full"), sets=["gateway.nginx.rateLimit.dryRun=true"])
    for one in rendered:
        if one["kind"] in OUR_KINDS or (one["kind"], one["metadata"]["name"]) in {
            ("Service", STABLE),
            ("Service", CANARY),
        }:
            yield {**one, "metadata": {**one["metadata"], "namespace": "postrider"}}
    listeners = [
        {"name": "http", "port": edge.http, "protocol": "HTTP"},
        {
            "name": "https",
            "port": edge.https,
            "protocol": "HTTPS",
            "tls": {"certificateRefs": [{"kind": "Secret", "name": "postrider-tls"}]},
        },
    ]
    spec = {"gatewayClassName": "nginx", "listeners": listeners}
    meta = {"name": "postrider", "namespace": "postrider"}
    yield {"apiVersion": GATEWAY, "kind": "Gateway", "metadata": meta, "spec": spec}


def _certificate(authority: trustme.CA) -> Manifest:
    issued = authority.issue_cert(HOST)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    pair = {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "postrider-tls", "namespace": "postrider"},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(data).decode() for name, data in pair.items()},
    }


@contextmanager
def _running(stage: Stage) -> Iterator[None]:
    stage.start()
    try:
        yield
    finally:
        ended = stage.end(signal.SIGTERM)
    assert ended is None, stage.log
    assert not stage.is_open()


@pytest.fixture
def whole(stage: Stage) -> Stage:
    """Everything as it is between releases."""
    stage.weigh(100, 0)
    for pod in stage.stable:
        stage.ready(pod, STABLE, ready=True)
    stage.ready(stage.canary, CANARY, ready=True)
    soon(lambda: set(stage.names(20)) == {pod.name for pod in stage.stable}, 5)
    return stage


@pytest.mark.parametrize(("stable", "canary", "least", "most"), [(90, 10, 16, 70), (0, 100, ENOUGH, ENOUGH)])
def test_requests_go_by_weights(whole: Stage, stable: int, canary: int, least: int, most: int) -> None:
    whole.weigh(stable, canary)
    soon(lambda: whole.names(60)["canary"] > 60 * canary / 200)
    assert least <= whole.names()["canary"] <= most


def test_both_ready_pods_of_a_service_are_asked_and_one_that_is_not_ready_no_more(whole: Stage) -> None:
    first, second = whole.stable
    assert min(whole.names()[one.name] for one in whole.stable) > ENOUGH / 4
    whole.ready(first, STABLE, ready=False)
    # For a moment those of NGINX that are about to end take connections beside those that follow them.
    soon(lambda: whole.names() == Counter({second.name: ENOUGH}), 5)
    assert whole.names() == Counter({second.name: ENOUGH})
    whole.ready(first, STABLE, ready=True)
    soon(lambda: first.name in whole.names(20))


def test_every_answer_over_tls_says_once_that_browsers_must_insist(whole: Stage) -> None:
    for status in (200, 404, 429, 500, 503):
        reply = whole.door.ask("GET", f"/{status}")
        assert (reply.status, len(reply.all_of(HSTS))) == (status, 1)
    too_large = whole.door.ask("POST", "/200", body=b"x" * 3_000_000)
    assert (too_large.status, len(too_large.all_of(HSTS))) == (413, 1)
    assert whole.door.ask("GET", "/200", tls=False).headers["location"] == f"https://{HOST}/200"


def test_where_nobody_is_ready_it_is_said_at_once(whole: Stage) -> None:
    for pod in whole.stable:
        whole.ready(pod, STABLE, ready=False)
    soon(lambda: whole.door.ask("GET", "/200").status == 503)
    reply = whole.door.ask("GET", "/200")
    assert (reply.status, len(reply.all_of(HSTS))) == (503, 1)
    whole.ready(whole.stable[0], STABLE, ready=True)
    soon(lambda: whole.door.ask("GET", "/200").status == 200)


def test_a_configuration_that_nginx_does_not_take_leaves_the_last_one_at_work(whole: Stage) -> None:
    good = whole.kube.get(NGINX, "SnippetsFilter", "postrider")["spec"]
    assert whole.conditions("Gateway", "postrider")["Programmed"] == ("True", "")
    bad = {"snippets": [{"context": "http.server.location", "value": "no_such_word on;"}]}
    whole.kube.patch(NGINX, "SnippetsFilter", "postrider", {"spec": bad})
    soon(lambda: whole.conditions("Gateway", "postrider")["Programmed"][0] == "False")
    _, message = whole.conditions("Gateway", "postrider")["Programmed"]
    assert 'unknown directive "no_such_word"' in message
    assert 'unknown directive "no_such_word"' in whole.log
    assert whole.names(20).total() == 20
    whole.kube.patch(NGINX, "SnippetsFilter", "postrider", {"spec": good})
    soon(lambda: whole.conditions("Gateway", "postrider")["Programmed"] == ("True", ""))


def test_what_is_told_is_told_once(whole: Stage) -> None:
    for kind, name in (("Gateway", "postrider"), ("HTTPRoute", "postrider")):
        assert {state for state, _ in whole.conditions(kind, name).values()} == {"True"}
    (address,) = whole.kube.get(GATEWAY, "Gateway", "postrider")["status"]["addresses"]
    assert address["value"] == "127.0.0.1"
    soon(lambda: _observed(whole) == whole.kube.get(GATEWAY, "HTTPRoute", "postrider")["metadata"]["generation"])
    before = whole.kube.get(GATEWAY, "HTTPRoute", "postrider")["metadata"]["resourceVersion"]
    time.sleep(1.5)
    assert whole.kube.get(GATEWAY, "HTTPRoute", "postrider")["metadata"]["resourceVersion"] == before


def _observed(whole: Stage) -> int:
    (told,) = whole.kube.get(GATEWAY, "HTTPRoute", "postrider")["status"]["parents"]
    return min(int(one["observedGeneration"]) for one in told["conditions"])


def test_a_backend_that_there_is_not_is_told_and_the_rest_is_served(whole: Stage) -> None:
    service = whole.kube.get("v1", "Service", CANARY)
    whole.kube.delete("v1", "Service", CANARY)
    soon(lambda: whole.conditions("HTTPRoute", "postrider")["ResolvedRefs"][0] == "False")
    assert CANARY in whole.conditions("HTTPRoute", "postrider")["ResolvedRefs"][1]
    assert whole.names(20).total() == 20
    wanted = {name: service["spec"][name] for name in ("selector", "ports")}
    meta = {"name": CANARY, "namespace": "postrider"}
    whole.kube.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": wanted})
    soon(lambda: whole.conditions("HTTPRoute", "postrider")["ResolvedRefs"] == ("True", ""))


def test_a_gateway_that_is_killed_comes_back_with_what_the_cluster_says_by_then(whole: Stage) -> None:
    assert whole.end(signal.SIGKILL) is None
    soon(lambda: not whole.is_open())
    whole.weigh(0, 100)
    whole.start()

    def is_back() -> bool:
        with suppress(ConnectionRefusedError):
            return whole.names(20) == Counter({"canary": 20})
        return False

    soon(is_back, 20)


@dataclass(slots=True)
class Caller:
    """Asks one request after the other, and tries none again: those that failed on a connection that had rested are
    told from those that were under way.
    """

    door: Door
    path: str
    keeps: bool
    answered: int = 0
    rested: int = 0
    failed: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._ended.is_set():
            self._connection()

    def stop(self) -> None:
        """Ends it with the request that is under way."""
        self._ended.set()

    def _connection(self) -> None:
        connection = http.client.HTTPConnection(HOST)
        with self.door.connect() as connection.sock:
            used = False
            while not self._ended.is_set():
                try:
                    connection.request("GET", self.path)
                    answer = connection.getresponse()
                    status, is_last = answer.status, answer.will_close
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    if used:
                        self.rested += 1
                    else:
                        self.failed.append(repr(error))
                    return
                if status != 200:
                    self.failed.append(str(status))
                self.answered += 1
                used = True
                if is_last or not self.keeps:
                    return


def test_a_reload_cuts_nothing_that_is_under_way(whole: Stage) -> None:
    """What rests is closed: whoever sends into it just then has to send again, as HTTP allows."""
    keeping, reloads = 4, 4
    callers = [Caller(whole.door, "/200?seconds=0.3", keeps=False) for _ in range(8)]
    callers += [Caller(whole.door, "/200", keeps=True) for _ in range(keeping)]
    before = whole.reloads
    threads = [threading.Thread(target=one.run) for one in callers]
    for thread in threads:
        thread.start()
    for number in range(reloads):
        whole.weigh(100 - number - 1, number + 1)
        time.sleep(1)
    for one in callers:
        one.stop()
    for thread in threads:
        thread.join()
    done = whole.reloads - before
    # One more where what was before had not been taken up yet.
    assert done in {reloads, reloads + 1}
    assert [one.failed for one in callers] == [[]] * len(callers)
    assert sum(one.answered for one in callers) > 300
    assert sum(one.rested for one in callers) <= done * keeping
