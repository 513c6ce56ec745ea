"""How errors and operations are described in the OpenAPI document: each operation by what it can answer."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.kit.errors_http import REQUEST_ID, TITLES

ANSWERS = "__answers__"
SECURITY = "__security__"
"""Under it a security dependency holds models of further schemes that it takes, by name."""
BY_LINK = "__by_link__"
"""Under it a dependency says that it lets in whoever holds a signed link."""
REF = "#/components/schemas/{model}"
REQUEST_ID_REF = {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
ETAG_REF = {"etag": {"$ref": "#/components/headers/ETag"}}
CONDITIONAL = {304, 412}
BAD = 400
HEADERS = {
    401: {"www-authenticate": {"description": "The scheme to call with", "schema": {"type": "string"}}},
    429: {
        "retry-after": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}},
        "ratelimit-policy": {"description": "The limits: name, quota `q`, seconds `w`", "schema": {"type": "string"}},
        "ratelimit": {"description": "What remains, `r`, and for how many seconds, `t`", "schema": {"type": "string"}},
    },
}
Call = TypeVar("Call", bound=Callable[..., object])


class HttpErrorOut(BaseModel):
    """What went wrong: a code for programs, a sentence for people, and the members of RFC 9457."""

    code: str
    detail: str
    type: str
    title: str
    status: int
    instance: str
    requestId: str | None  # noqa: N815 the wire's spelling


class ValidationErrorItem(BaseModel):
    """One field that is wrong."""

    loc: list[str]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    """Which fields are wrong, and how."""

    code: str
    detail: list[ValidationErrorItem]
    type: str
    title: str
    status: int
    instance: str
    requestId: str | None  # noqa: N815 the wire's spelling


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of a route's own, for its `responses`."""
    return {status: _described(status) for status in statuses}


def _described(status: int) -> dict[str, Any]:
    described = {"model": _model(status), "description": TITLES[status]}
    return described | ({"headers": HEADERS[status]} if status in HEADERS else {})


def _model(status: int) -> type[BaseModel]:
    return HTTPValidationError if status == 422 else HttpErrorOut  # noqa: PLR2004 no other has a list


def _in_document(status: int) -> dict[str, Any]:
    described = _described(status)
    schema = {"$ref": REF.format(model=described.pop("model").__name__)}
    return described | {"content": {"application/json": {"schema": schema}}}


NOT_ANSWERED = 405
UNCHANGED = {304: {"description": "It is as the caller has it"}}
REFUSALS = UNCHANGED | {status: _in_document(status) for status in TITLES if status != NOT_ANSWERED}
"""What an operation may answer beside its success. The document has them of each operation that can: routes that held
them would make a model's field of each, thousands of them when a process starts."""


def answers(*statuses: int) -> Callable[[Call], Call]:
    """Says of a dependency which refusals it may answer with."""

    def mark(call: Call) -> Call:
        setattr(call, ANSWERS, statuses)
        return call

    return mark


class Documented(FastAPI):
    """An app whose OpenAPI document promises no answer that an operation never gives."""

    def openapi(self) -> dict[str, Any]:
        """The document."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["headers"] = {
                "RequestId": {"description": "Names the request in our logs", "schema": {"type": "string"}},
                "ETag": {"description": "Names this version, for If-Match", "schema": {"type": "string"}},
            }
            schemas = document["components"]["schemas"]
            schemas.pop("ValidationError", None)  # FastAPI's own
            _, ours = models_json_schema(
                [(HttpErrorOut, "serialization"), (HTTPValidationError, "serialization")], ref_template=REF
            )
            schemas |= ours["$defs"]
            for route in iter_route_contexts(self.routes):
                _describe(document, route)
        return self.openapi_schema or {}


def _describe(document: dict[str, Any], route: RouteContext) -> None:
    original = route.original_route
    if not isinstance(original, APIRoute) or not route.include_in_schema:
        return
    taken = _schemes(route)
    document["components"].get("securitySchemes", {}).update(taken)
    refusals = _refusals(route)
    possible = refusals | {int(status) for status in original.responses}
    for method in route.methods or ():
        operation = document["paths"][route.path_format][method.lower()]
        operation.get("security", []).extend({name: []} for name in taken)
        given = operation["responses"] | {str(status): dict(REFUSALS[status]) for status in refusals}
        if permission := permission_of(route):
            operation["x-permission"] = permission
        kept = sorted(status for status in given if int(status) not in REFUSALS or int(status) in possible)
        operation["responses"] = {status: given[status] for status in kept}
        for status, response in operation["responses"].items():
            tagged = ETAG_REF if possible & CONDITIONAL and method != "DELETE" and int(status) < BAD else {}
            response["headers"] = response.get("headers", {}) | REQUEST_ID_REF | tagged
        for content in operation.get("requestBody", {}).get("content", {}).values():
            document["components"]["schemas"] |= content["schema"].pop("$defs", {})


def _schemes(route: RouteContext) -> dict[str, Any]:
    """Security schemes that the operation takes beside those that FastAPI finds."""
    said = (getattr(one.call, SECURITY, {}) for one in needed(route.dependant))
    every = {name: model for schemes in said for name, model in schemes.items()}
    return {name: jsonable_encoder(model, by_alias=True, exclude_none=True) for name, model in every.items()}


def _refusals(route: RouteContext) -> set[int]:
    """What the operation may refuse with because of its parameters and its dependencies."""
    whole = list(needed(route.dependant))
    paths, queries, headers = (
        any(getattr(one, f"{place}_params") for one in whole) for place in ("path", "query", "header")
    )
    body = route.body_field is not None or "requestBody" in (route.openapi_extra or {})
    given = {404: paths, 400: queries, 413: body, 415: body, 422: queries or headers or body, 500: True}
    said = (getattr(one.call, ANSWERS, ()) for one in whole)
    return {status for status, possible in given.items() if possible}.union(*said)


def permission_of(route: RouteContext) -> str | None:
    """What a caller must hold, as one of the route's dependencies says; None when that is nothing."""
    said = {getattr(one.call, "permission", None) for one in needed(route.dependant)} - {None}
    assert len(said) <= 1, f"{route.path_format} asks for {said}"
    return next(iter(said), None)


def needed(dependant: Dependant) -> Iterator[Dependant]:
    """A dependency with all that it depends on."""
    yield dependant
    for one in dependant.dependencies:
        yield from needed(one)


def operation_id(route: APIRoute) -> str:
    """`v1.<tag>.<name of the function>`."""
    return ".".join(["v1", *(_word(str(tag)) for tag in route.tags[:1]), _word(route.name)])


def _word(text: str) -> str:
    return text.strip("_").lower().replace(" ", "-").replace("_", "-")
