"""Lets a library that speaks httpx2 make its requests through the product's own client, and no other way."""

from collections.abc import Hashable

import httpx2

from app.domain.outcome import Failure
from app.kit.egress.client import Egress, Outgoing

Response = httpx2.Response
"""An answer, as the libraries that speak httpx2 see it."""
RefusedStatus = httpx2.HTTPStatusError
"""What they raise for a status that they do not expect."""
# The client writes them itself, from the URL that it judged.
_OURS = frozenset({"host", "accept-encoding", "connection", "content-length", "transfer-encoding"})


class EgressRefused(httpx2.TransportError):
    """A request that did not get its whole answer; the text is short and safe to show."""

    def __init__(self, failure: Failure, detail: str, request: httpx2.Request) -> None:
        super().__init__(detail, request=request)
        self.failure = failure
        self.detail = detail


class EgressTransport(httpx2.AsyncBaseTransport):
    """Carries httpx2's requests; of an answer `body_bytes` at most are taken, and a longer one is a failure.

    Whatever redirects, proxies or cookies httpx2 may know of, here each request goes where the policy permits, once.
    """

    def __init__(self, egress: Egress, pool: Hashable, body_bytes: int) -> None:
        self._egress = egress
        self._pool = pool
        self._most = body_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request. Raises EgressRefused."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        body = await request.aread()
        outgoing = Outgoing(
            str(request.url), body, headers, self._pool, method=request.method, body_bytes=self._most + 1
        )
        answer = await self._egress.send(outgoing)
        if answer.failure is not None or answer.status is None:
            raise EgressRefused(answer.failure or Failure.OTHER, answer.detail, request)
        if len(answer.body) > self._most:
            raise EgressRefused(Failure.TOO_LARGE, "the answer is too large", request)
        kind = {} if answer.content_type is None else {"content-type": answer.content_type}
        return httpx2.Response(answer.status, headers=kind, content=answer.body, request=request)
