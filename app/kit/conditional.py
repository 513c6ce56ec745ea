"""Updates and reads that depend on what the caller has seen: ETag, If-Match, If-None-Match (RFC 9110, section 13)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Response
from pydantic import BaseModel
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from app.kit.errors import Kind, Problem, changed, invalid
from app.kit.openapi import answers

ANY = "*"
WEAK = "W/"
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rf"{TAG}(?:[ \t]*,[ \t]*{TAG})*")
EACH = re.compile(TAG)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def etag(version: int, made_at: datetime | None = None) -> str:
    """The entity tag of a thing's version.

    `made_at` is for a thing that is known by a name: it tells it from one that had the name before.
    """
    return f'"{version}"' if made_at is None else f'"{version}-{(made_at - EPOCH) // MICROSECOND:x}"'


@dataclass(frozen=True, slots=True)
class Precondition:
    """The tags of which the thing must bear one; None when nothing is demanded."""

    tags: frozenset[str] | None = None

    def check(self, version: int) -> None:
        """Problem `precondition_failed` when the thing has another version by now."""
        self.require(etag(version))

    def require(self, tag: str | None) -> None:
        """Problem `precondition_failed` when the thing bears another tag by now, or is not there (None)."""
        if self.tags is not None and (tag is None or self.tags.isdisjoint({ANY, tag})):
            raise changed()


@dataclass(frozen=True, slots=True)
class Known:
    """The tags of what the caller has already."""

    tags: frozenset[str] = frozenset()

    def answer(self, tag: str, body: BaseModel) -> Response:
        """The thing with its tag; 304 without it when the caller has it."""
        if self.tags.isdisjoint({ANY, tag}):
            return Response(body.model_dump_json(by_alias=True), 200, {"etag": tag}, "application/json")
        return Response(status_code=304, headers={"etag": tag})


def _header(name: str, description: str) -> Any:  # noqa: ANN401 FastAPI's own
    listed: JsonDict = {"pattern": rf"^(\*|{TAGS.pattern})$"}
    return Header(alias=name, description=description, examples=['"3"'], json_schema_extra=listed)


# Left out or a text: there is no null in a header, and the document is not to speak of one.
Text = str | SkipJsonSchema[None]
Given = Annotated[Text, _header("if-match", "Only when it still bears this ETag")]
Had = Annotated[Text, _header("if-none-match", "Answer 304 when it still bears this ETag")]


@answers(412)
def if_match(given: Given = None) -> Precondition:
    """What the request demands, if anything."""
    return Precondition(None if given is None else _tags("if-match", given))


@answers(412, 428)
def if_match_required(given: Given = None) -> Precondition:
    """What the request demands. Raises Problem `precondition_required` when it demands nothing."""
    if given is None:
        detail = "Send the ETag of what you have read as If-Match, so that you undo nobody's change, or *"
        raise Problem(Kind.precondition_required, "precondition_required", detail)
    return Precondition(_tags("if-match", given))


@answers(304)
def if_none_match(had: Had = None) -> Known:
    """What the caller has. A weak tag is as good as a strong one here, where nothing is overwritten."""
    tags = frozenset() if had is None else _tags("if-none-match", had)
    return Known(frozenset(one.removeprefix(WEAK) for one in tags))


def _tags(name: str, given: str) -> frozenset[str]:
    text = given.strip(" \t")
    if text != ANY and not TAGS.fullmatch(text):
        raise invalid(name, 'is no list of entity tags, such as "3"', where="header")
    return frozenset({ANY} if text == ANY else EACH.findall(text))


IfMatch = Annotated[Precondition, Depends(if_match)]
IfMatchRequired = Annotated[Precondition, Depends(if_match_required)]
IfNoneMatch = Annotated[Known, Depends(if_none_match)]
