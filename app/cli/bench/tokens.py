"""`postrider bench tokens`: what a token costs by each algorithm, and how long it is."""

import os
import time
from collections.abc import Callable

import click
from joserfc import jwt
from joserfc.jwk import OctKey

from app.domain.ids import encode
from app.features.oauth.tokens import ACCESS_TYPE
from app.kit.clock import new_id
from app.kit.token_keys import Algorithm, Key, make

SECRET_BYTES = 32
SECONDS = 0.5
HS256 = "HS256"


@click.command()
@click.option("--seconds", default=SECONDS, show_default=True, help="For how long each is measured.")
def tokens(seconds: float) -> None:
    """Print for each algorithm what signing and verifying an access token cost on a core, and how long the token is."""
    click.echo("| algorithm | sign | verify | token | verified by |\n|---|---|---|---|---|")
    for name, key, whom in (
        (HS256, OctKey.import_key(os.urandom(SECRET_BYTES)), "whoever could forge it"),
        *((one.value, make(one), "anybody") for one in (Algorithm.rs256, Algorithm.es256)),
    ):
        click.echo(_row(name, key, whom, seconds))


def _row(name: str, key: Key | OctKey, whom: str, seconds: float) -> str:
    header, claims = {"alg": name, "kid": new_id().hex, "typ": ACCESS_TYPE}, _claims()
    text = jwt.encode(header, claims, key, [name])
    sign = _microseconds(lambda: jwt.encode(header, claims, key, [name]), seconds)
    verify = _microseconds(lambda: jwt.decode(text, key, [name]), seconds)
    return f"| {name} | {sign:.0f} µs | {verify:.0f} µs | {len(text)} bytes | {whom} |"


def _microseconds(act: Callable[[], object], seconds: float) -> float:
    """How long it takes of a core's time, on average."""
    count, end, began = 0, time.monotonic() + seconds, time.process_time()
    while time.monotonic() < end:
        act()
        count += 1
    return (time.process_time() - began) / count * 1e6


def _claims() -> dict[str, object]:
    """What an access token of a person says."""
    now, client = int(time.time()), encode("client", new_id())
    return {
        "iss": "https://hooks.example.com",
        "sub": encode("user", new_id()),
        "aud": "https://hooks.example.com/api/v1",
        "client_id": client,
        "iat": now,
        "exp": now + 600,
        "jti": new_id().hex,
        "scope": "openid message:send",
        "org": encode("org", new_id()),
        "fam": new_id().hex,
        "auth_time": now,
        "amr": ["pwd", "otp"],
        "acr": "aal2",
    }
