"""Who may call which route: read from the routes, as they are asked for their permissions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from app.auth.portal import permissions_of as portal_permissions_of
from app.domain.permissions import GRANTED, Permission, Role
from app.kit.openapi import BY_LINK, needed, permission_of

PORTAL, PORTAL_READ_ONLY = "portal", "portal, read-only"
COLUMNS = {
    **{role.value: GRANTED[role] for role in Role},
    PORTAL: portal_permissions_of(None, read_only=False),
    PORTAL_READ_ONLY: portal_permissions_of(None, read_only=True),
}
"""What each kind of caller may; portal tokens can be narrowed further."""


@dataclass(frozen=True, slots=True, order=True)
class Operation:
    """A method of a path. Without `needs` it is for any credential, a link (`by_link`) or anybody (`is_open`)."""

    path: str
    method: str
    needs: Permission | None
    is_open: bool
    by_link: bool = False

    def admits(self, held: frozenset[Permission]) -> bool:
        """Whether a caller with these permissions may call it."""
        return not self.by_link and (self.needs is None or self.needs in held)


def operations(routes: Sequence[BaseRoute], prefix: str) -> list[Operation]:
    """Each operation below the prefix."""
    found = (one for context in iter_route_contexts(routes) for one in _of_route(context, prefix))
    return sorted(found, key=lambda one: (one.path, one.method))


def markdown(found: Iterable[Operation], prefix: str) -> str:
    """The matrix as a table."""
    head = ["operation", "permission", *COLUMNS]
    rows = [head, ["---", "---", *(":-:" for _ in COLUMNS)], *(_row(one, prefix) for one in found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(one: Operation, prefix: str) -> list[str]:
    without = "a signed link" if one.by_link else "anybody" if one.is_open else "any credential"
    needs = without if one.needs is None else f"`{one.needs}`"
    cells = ("✓" if one.admits(held) else "" for held in COLUMNS.values())
    return [f"`{one.method} {one.path.removeprefix(prefix)}`", needs, *cells]


def _of_route(context: RouteContext, prefix: str) -> Iterator[Operation]:
    path = context.path_format
    if isinstance(context.original_route, APIRoute) and path is not None and path.startswith(prefix):
        needs = permission_of(context)
        calls = [one.call for one in needed(context.dependant)]
        by_link = any(hasattr(call, BY_LINK) for call in calls)
        is_open = not by_link and not any(hasattr(call, "permission") for call in calls)
        for method in context.methods or ():
            yield Operation(path, method, Permission(needs) if needs else None, is_open, by_link)
