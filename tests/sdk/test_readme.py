"""The README's snippets are run as they stand, against a running system."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.api.client import Tenant
from tests.receiver import Received, Receiver
from tests.sdk.environments import javascript_judge, node, python_judge
from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.timeout(420)
RUN_SECONDS = 60
HOOKS = "http://localhost:9000/hooks"


def snippets(title: str) -> dict[str, str]:
    """The code under a heading of the README, by language."""
    section = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    text = next(one for one in section if one.startswith(title))
    return dict(re.findall(r"^```(python|js|sh)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


def run(command: Sequence[str | Path], code: str, **environment: str) -> str:
    """Runs a program that the standard input holds; what it printed comes back."""
    done = subprocess.run(
        command,
        input=code,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def python(version: str = "2.9.1") -> list[str | Path]:
    return [python_judge(version), "-"]


@pytest.fixture
def tenant(system: System) -> Tenant:
    return system.new_tenant()


def send(system: System, receiver: Receiver, tenant: Tenant, language: str) -> Received:
    path = receiver.path()
    code = snippets("Send an event")[language].replace(HOOKS, f"{receiver.base}{path}")
    assert f"{receiver.base}{path}" in code
    account = {"POSTRIDER_URL": system.url, "POSTRIDER_API_KEY": tenant.key}
    if language == "python":
        run(python(), code, **account)
    else:
        run_javascript(code, **account)
    return receiver.wait(path)[0]


def run_javascript(code: str, **environment: str) -> None:
    """Runs a module beside the installed packages, where its imports are found."""
    home = javascript_judge()
    file = home / f"snippet-{uuid.uuid4().hex}.mjs"
    file.write_text(code)
    try:
        run([node(), file], "", **environment)
    finally:
        file.unlink()


def secret_of(system: System, tenant: Tenant) -> str:
    code = (
        "import os, sys\n"
        "from svix.api import Svix, SvixOptions\n"
        "svix = Svix(os.environ['POSTRIDER_API_KEY'], SvixOptions(server_url=os.environ['POSTRIDER_URL']))\n"
        "[endpoint] = svix.endpoint.list('example').data\n"
        "sys.stdout.write(svix.endpoint.get_secret('example', endpoint.id).key)\n"
    )
    done = subprocess.run(
        python(),
        input=code,
        env={**os.environ, "POSTRIDER_URL": system.url, "POSTRIDER_API_KEY": tenant.key},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_snippets_send_and_verify(system: System, receiver: Receiver, tenant: Tenant, language: str) -> None:
    received = send(system, receiver, tenant, language)
    known = {"secret": secret_of(system, tenant), "headers": dict(received.headers), "body": received.body.decode()}

    verify = snippets("Verify one")[language]

    if language == "python":
        given = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        run([sys.executable, "-"], f"{given}{verify}\nassert event == {{'invoice': 17}}\n")
    else:
        given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in known.items())
        run_javascript(
            f"{verify.replace('const event', f'{given}const event')}\nif (event.invoice !== 17) throw event;\n"
        )


def test_a_changed_body_is_not_verified(system: System, receiver: Receiver, tenant: Tenant) -> None:
    received = send(system, receiver, tenant, "python")
    known = {"secret": secret_of(system, tenant), "headers": dict(received.headers), "body": '{"invoice": 18}'}
    given = "".join(f"{name} = {value!r}\n" for name, value in known.items())

    with pytest.raises(AssertionError, match="WebhookVerificationError"):
        run([sys.executable, "-"], given + snippets("Verify one")["python"])
