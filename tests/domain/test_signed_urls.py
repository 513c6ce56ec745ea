from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.signed_urls import BadLink, Link, Target, is_good, plain_address, sign, split

KEY = bytes(range(32))
ORGANISATION = UUID("0192e4a0-0000-7000-8000-000000000001")
ONCE = UUID("0192e4a0-0000-7000-8000-0000000000aa")
LINK = Link("k1", 1_800_000_000, ORGANISATION)
PATH = "/exports/exp_1/file"
QUERY = (("format", "csv"), ("part", "1"))


def opened(url: str, *, key: bytes = KEY, method: str = "GET", address: str | None = None) -> bool:
    """Whether the URL is good, as a server sees it."""
    parts = urlsplit(url)
    link, signature, query = split(parts.query)
    return is_good(key, link, signature, Target(method, parts.path, query, address))


def test_a_link_is_its_path_its_query_and_one_parameter() -> None:
    assert sign(KEY, replace(LINK, once=ONCE, bound=True), PATH, QUERY, "192.0.2.1") == (
        "/exports/exp_1/file?format=csv&part=1"
        "&link=k1~1800000000~org_01jbja0000e008000000000001~0192e4a00000700080000000000000aa~ip"
        "~WMgVbb06Cm-UIo42cr9mkf45u4VdkLeZgsUPDXs6gvY"
    )


@pytest.mark.parametrize("query", [(), QUERY, (("a", "ä &=~"), ("", ""))])
@pytest.mark.parametrize("once", [None, ONCE])
def test_a_link_opens_what_it_was_made_for(query: tuple[tuple[str, str], ...], once: UUID | None) -> None:
    url = sign(KEY, replace(LINK, once=once), PATH, query)
    link, _, rest = split(urlsplit(url).query)

    assert (link, rest) == (replace(LINK, once=once), list(query))
    assert opened(url)
    assert not opened(url, key=bytes(32))


@pytest.mark.parametrize("method", ["POST", "HEAD", "get", "DELETE", ""])
def test_no_other_method_opens_it(method: str) -> None:
    assert not opened(sign(KEY, LINK, PATH, QUERY), method=method)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/exp_1/", "/exp_2/"),
        ("/file", "/file/"),
        ("/file", "/files"),
        ("format=csv", "format=json"),
        ("format=csv&", ""),
        ("format=csv&", "format=csv&format=csv&"),
        ("part=1", "part=1&more=1"),
        ("part=1", "part=1&more="),
        ("format=csv&part=1", "format=csvpart&=1"),
        ("k1~", "k2~"),
        ("~1800000000~", "~1800000001~"),
        ("~org_01jbja0000e008000000000001~", "~org_01jbja0000e008000000000002~"),
        ("~0192e4a00000700080000000000000aa~", "~0192e4a00000700080000000000000ab~"),
        ("~0192e4a00000700080000000000000aa~", "~~"),
    ],
)
def test_nothing_can_be_changed(old: str, new: str) -> None:
    url = sign(KEY, replace(LINK, once=ONCE), PATH, QUERY)
    assert old in url

    assert not opened(url.replace(old, new, 1))


def test_the_order_of_parameters_does_not_matter_but_that_of_values_does() -> None:
    url = sign(KEY, LINK, PATH, (("b", "1"), ("a", "2"), ("b", "3")))

    assert opened(url.replace("b=1&a=2&b=3", "a=2&b=1&b=3"))
    assert not opened(url.replace("b=1&a=2&b=3", "b=3&a=2&b=1"))


def test_a_bound_link_opens_from_its_address_alone() -> None:
    url = sign(KEY, replace(LINK, bound=True), PATH, QUERY, "192.0.2.1")

    assert "192.0.2.1" not in url
    assert opened(url, address="192.0.2.1")
    assert opened(url, address="::ffff:192.0.2.1")
    assert opened(url, address="::ffff:c000:201")
    assert not opened(url, address="192.0.2.2")
    assert not opened(url.replace("~ip~", "~~"), address="192.0.2.1")
    assert not opened(sign(KEY, LINK, PATH, QUERY).rpartition("~")[0] + "~" + url.rpartition("~")[2])
    for nowhere in (None, "", "unix"):
        with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
            opened(url, address=nowhere)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::1", "::1"),
    ],
)
def test_an_address_has_one_spelling(text: str, plain: str) -> None:
    assert plain_address(text) == plain


def broken(change: str) -> str:
    """A query with the change made to its link: `old>new`."""
    old, _, new = change.partition(">")
    query = urlsplit(sign(KEY, replace(LINK, once=ONCE), PATH, QUERY)).query
    assert old in query
    return query.replace(old, new)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "link=",
        "link=~~~~~",
        broken("link=>lonk="),
        broken("link=>link=x&link="),
        broken("1800000000>0"),
        broken("1800000000>01800000000"),
        broken("1800000000>1e9"),
        broken("1800000000>9999999999999"),
        broken("1800000000>%D9%A1"),
        broken("org_>app_"),
        broken("org_0>org_z"),
        broken("00aa~>00AA~"),
        broken("k1~>~"),
        broken("k1~>k 1~"),
        broken("part=1>" + "&".join(f"p{number}=" for number in range(100))),
    ],
)
def test_what_was_not_written_here_is_refused(query: str) -> None:
    with pytest.raises(BadLink):
        split(query)


PARTS = st.text(min_size=1, max_size=6)
QUERIES = st.lists(st.tuples(PARTS.filter(lambda name: name != "link"), PARTS), max_size=4)


@given(path=PARTS.map("/{}".format), query=QUERIES, other_path=PARTS.map("/{}".format), other_query=QUERIES)
def test_a_signature_is_for_one_target(
    path: str, query: list[tuple[str, str]], other_path: str, other_query: list[tuple[str, str]]
) -> None:
    link, signature, known = split(sign(KEY, LINK, path, query).partition("?")[2])
    other = Target("GET", other_path, other_query)

    assert known == query
    assert is_good(KEY, link, signature, Target("GET", path, query))
    assert is_good(KEY, link, signature, other) == (same(path, query) == same(other_path, other_query))


def same(path: str, query: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    return path, sorted(query, key=lambda pair: pair[0])


def test_a_second_link_is_one_too_many() -> None:
    query = urlsplit(sign(KEY, LINK, PATH, QUERY)).query

    assert split(query)[0] == LINK
    with pytest.raises(BadLink, match="one link"):
        split(f"{query}&link=x")


@given(st.data(), st.text(max_size=50))
def test_any_text_is_refused_or_read(data: st.DataObject, text: str) -> None:
    url = sign(KEY, LINK, PATH, QUERY)
    given_link = dict(parse_qsl(urlsplit(url).query))["link"]
    at = data.draw(st.integers(0, len(given_link)))
    query = urlencode([*QUERY, ("link", given_link[:at] + text + given_link[at + len(text) :])])

    try:
        good = opened(f"{PATH}?{query}")
    except BadLink:
        good = False

    assert good == (query == urlsplit(url).query)
