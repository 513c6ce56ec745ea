"""Everything secret is changed while messages flow: no valid key is refused, and every signature verifies."""

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from standardwebhooks import Webhook

from app.cli.dev.roles import API, WORKER
from tests.faults.client import ACCEPTED
from tests.faults.lab import Lab, Scene, changed
from tests.receiver import Receiver
from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.timeout(900)
NO_ANSWER, AWAY = 0, 503


def test_f27_keys_change_under_load(lab: Lab, installation: System) -> None:
    """The database's passwords, the key ring and a signing secret turn; processes are replaced as operators do.

    A client may find the API away for a moment, or its database, and is never told that its key is no good.
    """
    scene = Scene(lab, installation, "F27 keys change under load")
    signed = scene.targets[0]
    count = 100 if lab.bounded else 7000
    with Receiver() as receiver, scene.load(rate=50 if lab.bounded else 200) as load:
        at = f"/app/{signed.app}/endpoint/{scene.add_endpoint(signed, 'signed', f'{receiver.base}/signed')}/secret"
        old = scene.api(signed).call("GET", at)["key"]
        load.wait_accepted(count, 60)
        installation.environment |= _one_key_more(installation)
        with _replaced_by_new_passwords(lab, installation) as urls:
            _turn_key_ring({**installation.environment, **urls})
            load.wait_accepted(2 * count, 60)
            new = scene.api(signed).call("POST", f"{at}/rotate", {"gracePeriodSeconds": 3600})["key"]
            rotated = time.monotonic()
            load.wait_accepted(3 * count, 60)
        book = load.stop()
        scene.settle(30)
        deliveries = receiver.at("/signed")
    scene.conclude(book, recovery=scene.recovery(book, rotated), note=f"{len(deliveries)} signatures verified")
    assert set(book.statuses) <= {NO_ANSWER, AWAY, ACCEPTED}
    # By the judge of the specification: raises when a signature is not good.
    for one in deliveries:
        Webhook(old).verify(one.body, dict(one.headers))
    late = [one for one in deliveries if one.at > rotated + 1]
    for one in late:
        Webhook(new).verify(one.body, dict(one.headers))
    assert late


def _one_key_more(system: System) -> dict[str, str]:
    """A key ring with a new key, which encrypts from now on."""
    keys = json.loads(system.environment["POSTRIDER_SECRETS__KEYS"]) | {"next": b64encode(os.urandom(32)).decode()}
    return {"POSTRIDER_SECRETS__KEYS": json.dumps(keys), "POSTRIDER_SECRETS__ACTIVE": "next"}


def _turn_key_ring(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "secrets", "rotate"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "under key next" in done.stdout


@contextmanager
def _replaced_by_new_passwords(lab: Lab, system: System) -> Iterator[Mapping[str, str]]:
    """Gives the roles new passwords under those that run, and then replaces these; yields the environment of the new.

    All is as before when the block ends.
    """
    urls = {API: "POSTRIDER_DATABASE__URL", WORKER: "POSTRIDER_DATABASE__WORKER_URL"}
    usual = {role: urlsplit(system.environment[name]).password or "" for role, name in urls.items()}
    fresh = dict.fromkeys(usual, "new-password")
    with_fresh = {
        name: system.environment[name].replace(f":{usual[role]}@", f":{fresh[role]}@") for role, name in urls.items()
    }
    _set_passwords(lab, fresh)
    try:
        with changed(lab, system, with_fresh, with_fresh):
            try:
                yield with_fresh
            finally:
                _set_passwords(lab, usual)
    finally:
        _set_passwords(lab, usual)


def _set_passwords(lab: Lab, passwords: Mapping[str, str]) -> None:
    for role, password in passwords.items():
        lab.postgres.query(f"ALTER ROLE {role} PASSWORD '{password}'")
