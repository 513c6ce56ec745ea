import base64
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    InvalidSignature,
    MappingKeyResolver,
    algorithms,
)
from hypothesis import given
from hypothesis import strategies as st

from app.domain.http_signatures import (
    BadSignature,
    Request,
    Signature,
    Stale,
    check_time,
    content_digest,
    mac,
    maker,
    read,
    signature_base,
)
from tests.signer import Ask

SECRET = b"a secret of this key"
OTHER = b"the secret that it had before"

# RFC 9421, appendix B: the keys (B.1) and the request (B.2).
SHARED_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
RSA_PSS_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----
"""
ED25519_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
RFC_REQUEST = Request(
    "POST",
    "/foo",
    "param=Value&Pet=dog",
    (
        ("host", "example.com"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        (
            "content-digest",
            "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
        ),
        ("content-length", "18"),
    ),
    b'{"hello": "world"}',
)


def rfc_base(params: str) -> bytes:
    listed = params[1 : params.index(")")]
    return signature_base(RFC_REQUEST, [name.strip('"') for name in listed.split()], params)


def test_the_hmac_of_the_rfc_is_made() -> None:
    base = rfc_base('("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"')

    assert base.decode() == (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"@signature-params": ("date" "@authority" "content-type")'
        ';created=1618884473;keyid="test-shared-secret"'
    )
    assert mac(SHARED_SECRET, base) == "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


@pytest.mark.parametrize(
    ("params", "signature"),
    [
        (
            '();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
            (
                "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXa"
                "JMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56Y"
                "CE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPY"
                "TU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q=="
            ),
        ),
        (
            (
                '("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")'
                ';created=1618884473;keyid="test-key-rsa-pss"'
            ),
            (
                "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768Zr"
                "CUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW"
                "91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJz"
                "SRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA=="
            ),
        ),
    ],
    ids=["B.2.1", "B.2.3"],
)
def test_what_the_rfc_signed_with_rsa_is_what_we_would_sign(params: str, signature: str) -> None:
    key = load_pem_public_key(RSA_PSS_KEY.encode())
    assert isinstance(key, RSAPublicKey)

    key.verify(base64.b64decode(signature), rfc_base(params), PSS(MGF1(SHA512()), 64), SHA512())


def test_what_the_rfc_signed_with_ed25519_is_what_we_would_sign() -> None:
    key = load_pem_public_key(ED25519_KEY.encode())
    assert isinstance(key, Ed25519PublicKey)
    params = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="

    key.verify(base64.b64decode(signature), rfc_base(params))


def test_a_signature_of_the_rfc_outlives_what_proxies_do() -> None:
    """B.4: the request was given more headers, and one of its headers was sent in two lines."""
    key = load_pem_public_key(ED25519_KEY.encode())
    assert isinstance(key, Ed25519PublicKey)
    headers = (
        ("host", "example.org"),
        ("accept", "application/json"),
        ("x-forwarded-for", "192.0.2.123"),
        ("accept", "*/*"),
    )
    request = Request("GET", "/demo", "name1=Value1&Name2=value2", headers, b"")
    params = '("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519"'
    signature = "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA=="

    key.verify(
        base64.b64decode(signature),
        signature_base(request, ("@method", "@path", "@authority", "accept"), params),
    )


def test_the_digest_of_rfc_9530_is_made() -> None:
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def arrived(ask: Ask, headers: Mapping[str, str]) -> Request:
    return Request(ask.method, ask.path, ask.query, tuple(headers.items()), ask.body)


def signed(ask: Ask, secret: bytes = SECRET) -> Request:
    return arrived(ask, ask.signed(secret))


def judged(request: Request, *known: bytes) -> int | None:
    return maker(read(request), known or (SECRET,))


@pytest.mark.parametrize(
    "ask",
    [
        Ask(),
        Ask(method="GET", body=b""),
        Ask(method="GET", query="", body=b""),
        Ask(path="/api/v1/app/a%20b%2Fc/"),
        Ask(query="b=1&a=2&a=1&c=%20+"),
        Ask(label="sig-1.*_"),
        Ask(more=';alg="hmac-sha256";tag="mine"'),
        Ask(nonce=" ~!@#$^&*()-_=+,.:;<>/?[]{}|"),
        Ask(headers={"idempotency-key": "k", "x-anything": "else"}),
        Ask(body=bytes(range(256)) * 300, headers={"content-type": "application/cloudevents+json"}),
    ],
)
def test_a_signed_request_is_told_from_one_by_another_secret(ask: Ask) -> None:
    assert judged(signed(ask)) == 0
    assert judged(signed(ask), OTHER) is None
    assert judged(signed(ask), OTHER, SECRET) == 1


def test_what_the_signature_says_is_read() -> None:
    ask = Ask(key_id='a "key"'.replace('"', r"\""), nonce=r"back\\slash-and-more", created=17, more=";expires=18")

    read_back = read(signed(ask))

    assert read_back == Signature(ask.base, read_back.mac, 'a "key"', r"back\slash-and-more", 17, 18)


def test_a_key_without_secrets_signs_nothing() -> None:
    request = signed(Ask(), bytes(32))

    assert maker(read(request), ()) is None


def test_spaces_around_a_header_and_its_lines_do_not_matter() -> None:
    ask = Ask(headers={"x-two": "one, two"})
    headers = [(name, f" {value}\t") for name, value in ask.signed(SECRET).items() if name != "x-two"]
    request = replace(signed(ask), headers=(*headers, ("x-two", "one "), ("x-two", " two")))

    assert judged(request) == 0


def test_authority_may_be_covered() -> None:
    ask = Ask(body=b"", components=("@method", "@path", "@query", "host"))
    components = ("@method", "@path", "@query", "@authority")
    params = ask.params.replace('"host"', '"@authority"')
    request = Request(ask.method, ask.path, ask.query, (("host", "Hooks.example.com:8443"),), b"")
    made = mac(SECRET, signature_base(request, components, params))
    headers = (("signature-input", f"sig={params}"), ("signature", f"sig=:{made}:"))

    assert b'"@authority": hooks.example.com:8443\n' in signature_base(request, components, params)
    assert judged(replace(request, headers=(*request.headers, *headers))) == 0
    elsewhere = (("host", "hooks.example.org:8443"), *headers)
    assert judged(replace(request, headers=elsewhere)) is None


TEXTS = st.text(string.ascii_letters + string.digits + "-._~%/=&+", max_size=12)
NONCES = st.text(string.ascii_letters + string.digits + " !#$%&'()*+,-./:;<=>?@[]^_`{|}~", min_size=16, max_size=128)
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8).map("x-{}".format)
VALUES = st.text(string.ascii_letters + string.digits + ' ,;="', max_size=20).map(str.strip)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """Any request that we accept."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]))
    return Ask(
        method=method,
        path="/" + draw(TEXTS),
        query=draw(TEXTS),
        body=b"" if method == "GET" else draw(st.binary(max_size=40)),
        headers=draw(st.dictionaries(NAMES, VALUES, max_size=3)),
        nonce=draw(NONCES),
        key_id=draw(st.text(string.ascii_letters + "_", min_size=1, max_size=20)),
        created=int(time.time()),
    )


@given(st.data(), asks())
def test_no_change_goes_unnoticed(data: st.DataObject, ask: Ask) -> None:
    """One part of a signed request is replaced; headers, with the signature, stay."""
    request = signed(ask)
    part = data.draw(st.sampled_from(["method", "path", "query", "order", "body"]))
    if part == "method":
        changed = replace(request, method=data.draw(st.sampled_from(["HEAD", "get", "OPTIONS", f"{ask.method}X"])))
    elif part == "path":
        changed = replace(request, path=data.draw(TEXTS.map("/{}".format).filter(lambda text: text != ask.path)))
    elif part == "query":
        changed = replace(request, query=data.draw(TEXTS.filter(lambda text: text != ask.query)))
    elif part == "order":
        pairs = data.draw(st.lists(TEXTS.map(lambda text: f"a{text}"), min_size=2, unique=True))
        request = signed(ask.but(query="&".join(pairs)))
        changed = replace(request, query="&".join(reversed(pairs)))
    else:
        changed = replace(request, body=data.draw(st.binary(max_size=40).filter(lambda body: body != ask.body)))

    assert judged(request) == 0
    assert refused(changed)


@given(st.data(), asks())
def test_no_parameter_can_be_changed(data: st.DataObject, ask: Ask) -> None:
    """The header of a signature is replaced by that of another request; the signature stays."""
    covered = list(ask.covered)
    other = data.draw(
        st.one_of(
            st.integers(1, 2**40).filter(bool).map(lambda more: ask.but(created=ask.created + more)),
            NONCES.filter(lambda nonce: nonce != ask.nonce).map(lambda nonce: ask.but(nonce=nonce)),
            st.just(ask.but(key_id=f"{ask.key_id}x")),
            st.permutations(covered)
            .filter(lambda names: names != covered)
            .map(lambda names: ask.but(components=names)),
            st.sampled_from(covered).map(
                lambda gone: ask.but(components=[name for name in covered if name != gone]),
            ),
            st.just(ask.but(more=";expires=9999999999")),
            st.just(ask.but(more=';alg="hmac-sha256"')),
            st.just(ask.but(more=';tag=""')),
        )
    )
    headers = {**ask.signed(SECRET), "signature-input": other.signed(SECRET)["signature-input"]}

    assert refused(arrived(ask, headers))


@given(st.data(), asks().filter(lambda ask: bool(ask.sent)))
def test_no_covered_header_can_be_changed(data: st.DataObject, ask: Ask) -> None:
    headers = ask.signed(SECRET)
    name = data.draw(st.sampled_from(sorted(ask.sent)))
    value = data.draw(VALUES.filter(lambda text: text != headers[name]))

    assert refused(arrived(ask, {**headers, name: value}))
    assert refused(arrived(ask, {known: text for known, text in headers.items() if known != name}))
    twice = arrived(ask, headers)
    assert refused(replace(twice, headers=(*twice.headers, (name, value))))


def refused(request: Request) -> bool:
    try:
        return judged(request) is None
    except BadSignature:
        return True


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"signature": None}, "The header signature is missing"),
        ({"signature-input": None}, "The header signature-input is missing"),
        ({"signature-input": ""}, "must hold exactly one hmac-sha256 signature"),
        ({"signature": "sig=abc"}, "must hold exactly one hmac-sha256 signature"),
        ({"signature": "other=:{mac}:"}, "Signature-Input speaks of sig and Signature of other"),
        ({"signature": "sig=:{mac}:, two=:{mac}:"}, "exactly one"),
        ({"signature-input": "sig={params}, two={params}"}, "exactly one"),
        ({"signature-input": "sig={params} "}, None),
        ({"signature-input": "sig= {params}"}, "spelled as RFC 9421"),
        ({"signature-input": "sig={params};x=1"}, "takes each of"),
        ({"signature-input": "sig={params};created=1"}, "takes each of"),
        ({"signature-input": 'sig={params};nonce="1234567890123456"'}, "takes each of"),
        ({"signature-input": 'sig={params};expires="1"'}, "takes each of"),
        ({"signature-input": "sig={params};tag=1"}, "takes each of"),
        ({"signature-input": 'sig={params};alg="rsa-pss-sha512"'}, "The only algorithm is hmac-sha256"),
        ({"signature-input": 'sig={params};alg="none"'}, "The only algorithm is hmac-sha256"),
        ({"signature-input": 'sig={names};keyid="k";nonce="{nonce}"'}, "when the signature was created"),
        ({"signature-input": 'sig={names};created=1;nonce="{nonce}"'}, "name the key"),
        ({"signature-input": 'sig={names};created=1;keyid="";nonce="{nonce}"'}, "name the key"),
        ({"signature-input": 'sig={names};created=1;keyid="k"'}, "a nonce of 16 to 128"),
        ({"signature-input": 'sig={names};created=1;keyid="k";nonce="123456789012345"'}, "a nonce of 16 to 128"),
        ({"signature-input": f'sig={{names}};created=1;keyid="k";nonce="{129 * "n"}"'}, "a nonce of 16 to 128"),
        ({"signature-input": 'sig={names};created=01;keyid="k";nonce="{nonce}"'}, "spelled as RFC 9421"),
        ({"signature-input": 'sig={names};created=1.5;keyid="k";nonce="{nonce}"'}, "spelled as RFC 9421"),
        ({"signature-input": 'sig={names};created=-1;keyid="k";nonce="{nonce}"'}, "spelled as RFC 9421"),
        ({"content-digest": "sha-256=:AAAA:"}, "Content-Digest must be the sha-256 of the body"),
        ({"content-digest": "{digest}, sha-512=:AAAA:"}, "Content-Digest must be the sha-256 of the body"),
        ({"content-digest": None}, "Content-Digest must be the sha-256 of the body"),
        ({"content-type": None}, "covers the header content-type, which was not sent"),
        ({"content-type": "application/jsön"}, "content-type cannot be covered as it is: it must be printable ASCII"),
        ({"content-type": 'a\n"@path": /other'}, "content-type cannot be covered as it is"),
        ({"idempotency-key": "mine"}, "must also cover idempotency-key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(headers: dict[str, str | None], says: str | None) -> None:
    ask = Ask()
    good = ask.signed(SECRET)
    known = {
        "mac": good["signature"][5:-1],
        "params": ask.params,
        "names": ask.params.partition(";")[0],
        "nonce": ask.nonce,
        "digest": good["content-digest"],
    }
    changed = {name: value.format(**known) for name, value in headers.items() if value is not None}
    sent = {name: value for name, value in {**good, **changed}.items() if headers.get(name, "") is not None}

    if says is None:
        assert judged(arrived(ask, sent)) == 0
        return
    with pytest.raises(BadSignature, match=says):
        read(arrived(ask, sent))


def test_thirty_two_components_may_be_covered() -> None:
    headers = {f"x-{number}": "" for number in range(27)}

    assert judged(signed(Ask(headers=headers))) == 0
    with pytest.raises(BadSignature, match="at most 32 components, each once"):
        read(signed(Ask(headers={**headers, "x-more": ""})))


@given(
    st.dictionaries(
        st.sampled_from(["signature-input", "signature", "content-digest", "content-type", "host"]),
        st.one_of(
            st.text(st.characters(max_codepoint=255), max_size=40),
            st.from_regex(
                r'sig=\(("@method"|"@path"|"é"|[ ();])*\)(;(created|nonce|keyid)=(1|"a"|é))*', fullmatch=True
            ),
        ),
    )
)
def test_headers_of_any_kind_are_judged(headers: dict[str, str]) -> None:
    ask = Ask()
    good = ask.signed(SECRET)
    changed = any(value != good[name] for name, value in headers.items() if name in good)

    assert refused(arrived(ask, {**good, **headers})) == changed


@pytest.mark.parametrize("missing", ["@method", "@path", "@query", "content-type", "content-digest"])
def test_a_component_that_must_be_covered_is_named(missing: str) -> None:
    ask = Ask()
    partly = ask.but(components=[name for name in ask.covered if name != missing])

    with pytest.raises(BadSignature, match=f"must also cover {missing}$"):
        read(signed(partly))


@pytest.mark.parametrize("name", ["@status", "@target-uri", "@query-param", "@signature-params"])
def test_other_components_are_refused(name: str) -> None:
    ask = Ask()
    headers = ask.signed(SECRET)
    headers["signature-input"] = headers["signature-input"].replace(")", f' "{name}")')

    with pytest.raises(BadSignature, match=f"{name} cannot be covered; @method, @path, @query, @authority and headers"):
        read(arrived(ask, headers))


@pytest.mark.parametrize(
    "spelling", ['"@method" "@method"', '"@method";req', '"Content-Type"', "@method", '"@method"  "@path"']
)
def test_components_are_spelled_strictly(spelling: str) -> None:
    ask = Ask()
    headers = ask.signed(SECRET)
    headers["signature-input"] = headers["signature-input"].replace('("@method"', f"({spelling}")

    with pytest.raises(BadSignature, match=r"each once|exactly one"):
        read(arrived(ask, headers))


def test_a_body_that_was_added_or_taken_away_is_noticed() -> None:
    without = Ask(body=b"")
    with_body = Ask()

    assert refused(replace(signed(without), body=b"{}"))
    assert refused(replace(signed(with_body), body=b""))


def at(created: int, expires: int | None = None) -> Signature:
    return Signature(b"", "", "k", "n", created, expires)


@pytest.mark.parametrize("now", [1_000_300, 1_000_000, 999_700])
def test_a_signature_is_fresh_for_five_minutes_either_way(now: int) -> None:
    check_time(at(1_000_000), now)


@pytest.mark.parametrize("now", [1_000_301, 999_699, 10**11, 0])
def test_a_signature_is_stale_beyond(now: int) -> None:
    with pytest.raises(Stale, match="more than 300 seconds"):
        check_time(at(1_000_000), now)


def test_a_signature_ends_when_it_says() -> None:
    check_time(at(1_000_000, 1_000_010), 1_000_010)
    with pytest.raises(Stale, match="expired"):
        check_time(at(1_000_000, 1_000_010), 1_000_011)


@dataclass
class Message:
    """A request as the library sees it."""

    method: str
    url: str
    headers: dict[str, str]


LIBRARY_KEYS = MappingKeyResolver(public_keys={"key_1": SECRET}, private_keys={"key_1": SECRET})


@given(asks())
def test_another_implementation_accepts_what_we_accept(ask: Ask) -> None:
    ask = ask.but(key_id="key_1", path=ask.path.replace("%", ""), query=ask.query.replace("%", ""))
    message = Message(ask.method, f"http://example.com{ask.path}?{ask.query}", ask.signed(SECRET))
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=LIBRARY_KEYS)

    [result] = verifier.verify(message, require_components=tuple(ask.covered), body=ask.body)

    assert judged(signed(ask)) == 0
    assert (result.nonce, result.label) == (ask.nonce, ask.label)


@given(asks())
def test_we_accept_what_another_implementation_signs(ask: Ask) -> None:
    path, query = ask.path.replace("%", ""), ask.query.replace("%", "")
    message = Message(ask.method, f"http://example.com{path}?{query}", dict(ask.headers))
    if ask.body:
        message.headers["content-type"] = "application/json"
    signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=LIBRARY_KEYS)
    signer.sign(
        message,
        key_id="key_1",
        nonce=ask.nonce,
        label="theirs",
        created=datetime.fromtimestamp(ask.created, UTC),
        covered_component_ids=("@method", "@path", "@query", *message.headers),
        body=ask.body or None,
    )
    headers = tuple((name.lower(), value) for name, value in message.headers.items())

    assert judged(Request(ask.method, path, query, headers, ask.body)) == 0


def test_the_other_implementation_passes_the_hmac_of_the_rfc() -> None:
    keys = MappingKeyResolver(public_keys={"test-shared-secret": SHARED_SECRET}, private_keys={})
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=keys)
    params = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    headers = {
        **dict(RFC_REQUEST.headers),
        "signature-input": f"sig-b25={params}",
        "signature": "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    }
    message = Message("POST", "https://example.com/foo?param=Value&Pet=dog", headers)

    assert [one.label for one in verifier.verify(message, max_age=None)] == ["sig-b25"]
    message.headers["date"] = "Tue, 20 Apr 2021 02:07:56 GMT"
    with pytest.raises(InvalidSignature):
        verifier.verify(message, max_age=None)
