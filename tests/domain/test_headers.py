"""Custom headers: forbidden names, syntax, limits, sensitivity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import headers
from app.domain.headers import BadHeader, check_headers

FORBIDDEN = [
    "webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "svix-id", "x-svix-anything", "X-Amz-",
    "x-amz-date", "X-Google", "x-google-token", "Metadata-Flavor", "X-aws-ec2-metadata-token", "Host",
    "Content-Length", "content-type", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer",
    "Upgrade", "Expect", "Proxy-Authorization", "proxy-connection", "X-Forwarded-For", "Forwarded",
    "X-Real-IP", "Via", "User-Agent", "Accept-Encoding", "Cookie", "webhook_id", "Content_Length",
    "x_forwarded_for", "x-postrider-internal", "Postrider-Instance", "X-HTTP-Method-Override",
]  # fmt: skip
SENSITIVE = [
    "Authorization", "X-API-Key", "x-apikey", "api_key", "X-Auth-Token", "X-My-Secret", "x-password", "key",
    "Ocp-Apim-Subscription-Key", "x-functions-key", "CF-Access-Client-Secret",
]  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_w12_forbidden_names(name: str) -> None:
    """W12: ours, the transport's, proxies' and clouds' names are refused."""
    with pytest.raises(BadHeader, match="may not be set") as caught:
        check_headers({name: "x"})
    assert caught.value.name == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "a\r\nb", "é", "a\x00", ":path", "a" * 257, "x\n"])
def test_w12_names_are_tokens(name: str) -> None:
    """W12: no header is smuggled in through a name."""
    with pytest.raises(BadHeader, match="is not a header name"):
        check_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nHost: x", "a\nb", "a\rb", "a\x00", "a\x7f", "\x1b[31m", "日本", "a\n"])
def test_w12_values_have_no_controls(value: str) -> None:
    """W12: no CR, LF or NUL."""
    with pytest.raises(BadHeader, match="characters"):
        check_headers({"X-Team": value})


def test_limits() -> None:
    check_headers({f"x-{number}": "v" * 4096 for number in range(50)})
    with pytest.raises(BadHeader, match="more than 4096") as caught:
        check_headers({"x-a": "", "x-b": "v" * 4097})
    assert caught.value.name == "x-b"
    with pytest.raises(BadHeader, match="at most 50") as caught:
        check_headers({f"x-{number}": "" for number in range(51)})
    assert (caught.value.name, caught.value.reason) == ("", "an endpoint has at most 50 headers")


def test_names_differ_beyond_case() -> None:
    with pytest.raises(BadHeader, match="twice"):
        check_headers({"X-Team": "a", "x-team": "b"})


def test_ordinary_headers_pass() -> None:
    check_headers({"Authorization": "Bearer x", "X-Api-Key": "k", "X-Team": "a\tbé", "Accept": "*/*"})
    check_headers({"CF-Access-Client-Id": "x", "CF-Access-Client-Secret": "y"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, True) for name in SENSITIVE],
        *[(name, False) for name in ("X-Team", "x-keyboard", "x-monkey", "Accept")],
    ],
)
def test_sensitive_names(name: str, expected: bool) -> None:  # noqa: FBT001
    assert headers.is_sensitive(name) is expected


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_passes_is_one_line(name: str, value: str) -> None:
    try:
        check_headers({name: value})
    except BadHeader:
        return
    line = f"{name}: {value}".encode("latin-1")
    assert len(line.splitlines()) == 1
    assert b"\x00" not in line
    assert not headers.is_forbidden(name)
