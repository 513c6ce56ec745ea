"""What every page for people shares: who looks at it, what its forms must carry, how it is framed, how it fails."""

import math
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.datastructures import FormData

from app.auth.audit import where_of
from app.auth.devices import device_of
from app.auth.limits import Limits
from app.auth.people import Person, csrf_token, look
from app.console.pages import render
from app.domain.audit import Where
from app.kit.errors import Kind, Problem, forbidden
from app.kit.errors_http import STATUS
from app.settings import Settings

VISIT = "__Host-postrider_visit"
"""A random cookie that forms are bound to before there is a session."""
FORM = "application/x-www-form-urlencoded"
CSRF_FIELD = "csrf"
MAX_FIELDS, MAX_BYTES = 100, 64 * 1024
VISIT_BYTES = 16
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action {targets}; frame-ancestors 'none'"
)
STALE_FORM = "This form was open for too long, or came from another page: go back, load the page anew and try again"


class Visit:
    """One look at a page: the person, if one is signed in, and the token of its forms."""

    def __init__(self, request: Request, person: Person | None) -> None:
        self.request = request
        self.person = person
        self._new_visit: str | None = None

    @property
    def settings(self) -> Settings:
        """The installation's."""
        found: Settings = self.request.app.state.settings
        return found

    @property
    def base(self) -> str:
        """The path under which the outside finds us, without a slash at its end."""
        return urlsplit(self.settings.public_url).path.rstrip("/")

    @property
    def csrf(self) -> str:
        """The token that forms on this page carry, bound to the session, or before there is one to the visit."""
        return csrf_token(self.request.app.state.keyring, self._binding())

    def page(
        self,
        template: str,
        status: int = 200,
        *,
        targets: str = "'self'",
        headers: Mapping[str, str] = {},
        **values: object,
    ) -> Response:
        """A page. `targets` are where its forms may lead, redirects included (CSP `form-action`)."""
        html = render(template, self.base, visit=self, person=self.person, csrf=self.csrf, **values)
        framed = {
            "Content-Security-Policy": POLICY.format(targets=targets),
            # Of a page that sends no referrer at all, browsers hide the origin of its forms even from ourselves.
            "Referrer-Policy": "same-origin",
            "X-Robots-Tag": "noindex",
        }
        return self._with_visit(HTMLResponse(html, status, {**framed, **headers}))

    def refused(self, template: str, problem: Problem, **values: Any) -> Response:  # noqa: ANN401 whatever a template shows
        """A page that says what was refused, with the refusal's status."""
        answer = self.page(template, STATUS[problem.kind], problem=problem, **values)
        if problem.retry_after is not None:
            answer.headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
        return answer

    def answer(self, template: str, problem: Problem | None, **values: Any) -> Response:  # noqa: ANN401 whatever a template shows
        """A page that says what was refused, if anything was."""
        if problem is None:
            return self.page(template, problem=None, **values)
        return self.refused(template, problem, **values)

    def go(self, path: str) -> Response:
        """On to another page, by GET."""
        return self._with_visit(RedirectResponse(self.base + path, status_code=303))

    def leave(self, url: str) -> Response:
        """To a place that is not ours, by GET."""
        return self._with_visit(RedirectResponse(url, status_code=303))

    @property
    def browser(self) -> str:
        """What tells this browser from others, whoever is signed in at it."""
        return self.request.cookies.get(VISIT) or self._fresh()

    def where(self) -> Where:
        """Where the request came from, and who acts in the person's place."""
        by = None if self.person is None else self.person.impersonator
        return replace(where_of(self.request), impersonator=by or "")

    def _binding(self) -> bytes:
        if self.person is not None:
            return self.person.session_id.bytes
        return self.browser.encode()

    def _fresh(self) -> str:
        if self._new_visit is None:
            self._new_visit = secrets.token_urlsafe(VISIT_BYTES)
        return self._new_visit

    def _with_visit(self, answer: Response) -> Response:
        if self._new_visit is not None:
            answer.set_cookie(VISIT, self._new_visit, path="/", secure=True, httponly=True, samesite="lax")
        return answer


async def visit(request: Request) -> Visit:
    """The dependency."""
    return Visit(request, await look(request))


Visiting = Annotated[Visit, Depends(visit)]


async def posted(visiting: Visiting) -> FormData:
    """The fields of a form that one of our own pages sent.

    Raises Problem `forbidden` (`csrf`) for a form from elsewhere, `unsupported_media` for what is no form.
    """
    request = visiting.request
    require_same_origin(request, visiting.settings.public_url)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(Kind.unsupported_media, "unsupported_media_type", f"Content-Type must be {FORM}")
    fields = await request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=MAX_BYTES)
    given = fields.get(CSRF_FIELD)
    if not (isinstance(given, str) and secrets.compare_digest(given.encode(), visiting.csrf.encode())):
        raise forbidden(STALE_FORM, "csrf")
    return fields


Posted = Annotated[FormData, Depends(posted)]


def require_same_origin(request: Request, public_url: str) -> None:
    """Raises Problem `forbidden` (`csrf`) unless the browser says that one of our own pages asks."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = "{0.scheme}://{0.netloc}".format(urlsplit(public_url))
    own = "{0.scheme}://{0.netloc}".format(urlsplit(str(request.url)))
    if site not in {None, "same-origin"} or origin not in {ours, own}:
        raise forbidden(STALE_FORM, "csrf")


def field(fields: FormData, name: str, most: int = 4096) -> str:
    """A field's text as it was typed; empty where there is none.

    Raises Problem `invalid` beyond `most` characters, and for NUL, which nobody types and the database does not take.
    """
    value = fields.get(name, "")
    text = value if isinstance(value, str) else ""
    if len(text) > most:
        raise Problem(Kind.invalid, "invalid", f"{name}: at most {most} characters")
    if "\0" in text:
        raise Problem(Kind.invalid, "invalid", f"{name}: holds a character that is none")
    return text


def local_path(text: str | None) -> str:
    """Where to go after signing in: a path of ours, never another place."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable() or "\\" in text:
        return "/account"
    return text


class PageRoute(APIRoute):
    """A route whose refusals are pages too; whoever is not signed in is sent to where that is done."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, which FastAPI calls once for each route."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                await admit(request)
                return await handle(request)
            except Problem as problem:
                return await refusal(request, problem)

        return shown


async def admit(request: Request) -> None:
    """Counts a request of the person and the browser. Raises Problem `too_many`."""
    limits: Limits = request.app.state.limits
    person = await look(request)
    await limits.admit_visitor(None if person is None else person.user_id, device_of(request), request.scope)


async def refusal(request: Request, problem: Problem) -> Response:
    """The page that says what was refused, and what to do."""
    looking = await visit(request)
    next_ = quote(_with_query(request), safe="/")
    if problem.word == "mfa_required" and request.method == "GET":
        return looking.go("/sign-in/second-step")
    if problem.kind is Kind.unauthenticated and request.method == "GET":
        return looking.go(f"/sign-in?next={next_}")
    if problem.word == "reauth_required" and request.method == "GET":
        return looking.go(f"/sign-in/again?next={next_}")
    return looking.refused("people/refused.html", problem)


def _with_query(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


class Pages(APIRouter):
    """The router of pages for people."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix=prefix, include_in_schema=False, route_class=PageRoute)
