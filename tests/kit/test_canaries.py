"""What is found in the logs of a test session, lest a session that finds nothing has not looked."""

from pathlib import Path

import pytest

from tests import canaries
from tests.canaries import PAYLOAD, leaks

KEY = "whk_live_" + "0aZ" * 14 + "x_ABCDEF"
WELL = '{"event": "request_served", "organisation_id": "org_01jd8xq3v7e2x9w4c5t6r7y8z0", "operation": "v1.app.list"}'


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"key {KEY} is unknown", "an API key"),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a signing secret"),
        ("token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "a signed token"),
        ('cookie "' + "a-B_c4" * 14 + 'xy"', "a session or a token of ours"),
        ("550 <ann@example.test> is unknown", "a mail address"),
        ("cannot reach redis://:s3cret@127.0.0.1 or amqp://me:s3cret@host", "credentials in a URL"),
        (f'body {{"text": "{PAYLOAD}"}}', "a payload"),
        ("wrong: four planted words", "a password"),
    ],
)
def test_what_must_not_stand_in_a_log_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, kind: str
) -> None:
    monkeypatch.setenv(canaries.FOLDER, str(tmp_path))
    assert canaries.plant("a password", "four planted words") == "four planted words"
    (tmp_path / "api").with_suffix(".log").write_text(f"{WELL}\n")
    assert list(leaks(tmp_path)) == []
    log = tmp_path / "worker.log"
    log.write_text(f"{WELL}\n{line}\n")
    canaries.keep(log)
    assert {(one.kind, one.line) for one in leaks(tmp_path)} == {(kind, line)}
    assert len(list(leaks(tmp_path))) == 2
