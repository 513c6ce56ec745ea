from starlette.types import Receive, Scope, Send

from app.kit.methods import HeadAsGet
from app.kit.request_line import sent
from app.kit.surface.bodies import PlainPaths


async def through_middleware(scope: Scope) -> tuple[Scope, tuple[str, str]]:
    """The scope that an app behind our middleware sees, and the request line as it was sent."""
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: object) -> None:
        raise AssertionError

    await HeadAsGet(PlainPaths(app))(scope, nothing, nothing)  # type: ignore[arg-type]  # neither is called
    return seen[0], sent(seen[0])


async def test_the_request_line_outlives_what_middleware_does() -> None:
    scope = {"type": "http", "method": "HEAD", "path": "/a b/", "raw_path": b"/%61%20b/"}

    seen, line = await through_middleware(scope)

    assert (seen["method"], seen["path"], seen["raw_path"]) == ("GET", "/a b", b"/%61%20b")
    assert line == ("HEAD", "/%61%20b/")


async def test_a_request_that_nothing_changed_is_as_it_was_sent() -> None:
    scope = {"type": "http", "method": "POST", "path": "/a", "raw_path": b"/a"}

    assert (await through_middleware(scope))[1] == ("POST", "/a")


def test_a_server_that_keeps_no_raw_path_is_helped_out() -> None:
    assert sent({"type": "http", "method": "GET", "path": "/a b"}) == ("GET", "/a%20b")
