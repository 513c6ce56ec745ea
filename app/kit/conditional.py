"""Updates that hold only when nobody else has changed the thing: ETag and If-Match (RFC 9110, section 13)."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

from app.kit.errors import Kind, Problem, changed, invalid
from app.kit.openapi import answers

ANY = "*"
TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag(version: int) -> str:
    """The entity tag of a thing's version."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Precondition:
    """The tags of which the thing must bear one; None when nothing is demanded."""

    tags: frozenset[str] | None = None

    def check(self, version: int) -> None:
        """Problem `precondition_failed` when the thing has another version by now."""
        if self.tags is not None and ANY not in self.tags and etag(version) not in self.tags:
            raise changed()


Given = Annotated[
    str | None, Header(alias="if-match", description="Only when it still bears this ETag", max_length=1024)
]


@answers(412)
def if_match(given: Given = None) -> Precondition:
    """What the request demands, if anything."""
    return Precondition(None if given is None else _tags(given))


@answers(412, 428)
def if_match_required(given: Given = None) -> Precondition:
    """What the request demands. Raises Problem `precondition_required` when it demands nothing."""
    if given is None:
        detail = "Send the ETag of what you have read as If-Match, so that you undo nobody's change, or *"
        raise Problem(Kind.precondition_required, "precondition_required", detail)
    return Precondition(_tags(given))


def _tags(given: str) -> frozenset[str]:
    tags = [one.strip() for one in given.split(",")]
    if not all(one == ANY or TAG.fullmatch(one) for one in tags):
        raise invalid("if-match", 'is no list of entity tags, such as "3"', where="header")
    return frozenset(tags)


IfMatch = Annotated[Precondition, Depends(if_match)]
IfMatchRequired = Annotated[Precondition, Depends(if_match_required)]
