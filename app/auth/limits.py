"""Which requests are limited, by whom they are counted, and what whoever spent all is told."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from starlette.types import Scope

from app.auth.caller import Caller
from app.domain.limits import IdentityKind, RouteClass
from app.kit.errors import Kind, Problem
from app.kit.rate_limits.addresses import client_of
from app.kit.rate_limits.blocks import Blocks
from app.kit.rate_limits.exact import Exact
from app.kit.rate_limits.policy import Fields, Identity, Policy, Rate, Standing, policy_field, standing_fields
from app.kit.rate_limits.store import Store
from app.kit.surface.answers import ANSWER_HEADERS
from app.kit.telemetry.metrics import RATE_LIMIT_REFUSALS

CODE = "limit_reached"
READS = frozenset({"GET", "HEAD", "OPTIONS"})


Rates = Mapping[RouteClass, Mapping[IdentityKind, Rate]]
Policies = Sequence[tuple[IdentityKind, Policy]]
INGEST = RouteClass.ingest


class Limits:
    """The limits of one process. `prefix` is where the API's paths begin; a class without rates is not limited.

    Administration, pages and failed sign-ins are counted exactly, the rest in blocks. An organisation's own rates would
    be chosen where its meter is made.
    """

    def __init__(self, store: Store, rates: Rates, *, prefix: str) -> None:
        policies = {one: list(_policies(one, rates.get(one, {}))) for one in RouteClass}
        self._ingest_path = re.compile(re.escape(prefix) + "/app/[^/]+/msg")
        self._administration_path = re.compile(re.escape(prefix) + "/(auth|organisation|audit)(/.*)?")
        self.exact = Exact(store)
        self._administration = policies[RouteClass.administration]
        self._page = policies[RouteClass.page]
        self._sign_in = policies[RouteClass.sign_in]
        spent_in_blocks = (RouteClass.ingest, RouteClass.read, RouteClass.write)
        self._blocks = {one: Blocks(store, policies[one]) for one in spent_in_blocks if policies[one]}
        self._ingest = self._blocks.get(INGEST)
        # A rate sees no first value: so the series begin before there is anything to count.
        for route_class, counted in policies.items():
            for kind, _ in counted:
                RATE_LIMIT_REFUSALS.labels(route_class, kind)

    def take_ingest(self, caller: Caller, scope: Scope) -> bool:
        """Spends one for a message and returns True, if that needs no waiting; else `admit` is to be awaited."""
        if self._ingest is None:
            return True
        meter = self._ingest.meter(caller.subject, _host(scope))
        now = time.time()
        if meter is None or not meter.take(now):
            return False
        scope[ANSWER_HEADERS] = meter.fields(now)
        return True

    async def admit(self, caller: Caller, scope: Scope) -> None:
        """Spends one for this request, once however often it is asked. Raises Problem `limit_reached`."""
        if ANSWER_HEADERS in scope:
            return
        route_class = self._class_of(scope)
        if route_class is RouteClass.administration:
            await self._admit_exactly(self._administration, identities(caller, scope), scope)
        elif (blocks := self._blocks.get(route_class)) is not None:
            await self._admit_by_block(blocks, caller, scope)

    async def admit_visitor(self, user_id: UUID | None, device_id: UUID | None, scope: Scope) -> None:
        """Spends one for a page, of the person and the browser as far as they are known. Problem `limit_reached`."""
        if self._page:
            who = {IdentityKind.user: user_id, IdentityKind.device: device_id}
            known = [Identity(kind, str(one)) for kind, one in who.items() if one is not None]
            await self._admit_exactly(self._page, [*known, _address(scope)], scope)

    async def failed(self, scope: Scope) -> Problem | None:
        """Counts a failed authentication of the client's address; the Problem to answer with when those are spent.

        A good credential is never refused here: a stranger behind the same address must not lock anybody out.
        """
        for _, policy in self._sign_in:
            standing = await self.exact.take(policy, _address(scope))
            if not standing.allowed:
                scope[ANSWER_HEADERS] = [policy_field([policy]), *standing_fields([standing])]
                return _refusal(standing, "Too many failed authentications from your address")
        return None

    def _class_of(self, scope: Scope) -> RouteClass:
        method, path = scope["method"], scope["path"]
        if method == "POST" and self._ingest_path.fullmatch(path):
            return RouteClass.ingest
        if self._administration_path.fullmatch(path):
            return RouteClass.administration
        return RouteClass.read if method in READS else RouteClass.write

    async def _admit_by_block(self, blocks: Blocks, caller: Caller, scope: Scope) -> None:
        who = caller.subject, _host(scope)
        meter = blocks.meter(*who) or blocks.make(who, identities(caller, scope))
        refused = await meter.wait()
        scope[ANSWER_HEADERS] = meter.fields(time.time())
        if refused is not None:
            raise _refusal(refused)

    async def _admit_exactly(self, policies: Policies, spenders: Iterable[Identity], scope: Scope) -> None:
        texts = dict(spenders)
        counted = [(kind, policy) for kind, policy in policies if kind in texts]
        standings: list[Standing] = []
        for kind, policy in counted:
            standings.append(await self.exact.take(policy, Identity(kind, texts[kind])))
            if not standings[-1].allowed:
                break
        scope[ANSWER_HEADERS] = _fields(counted, standings)
        if standings and not standings[-1].allowed:
            raise _refusal(standings[-1])


def identities(caller: Caller, scope: Scope) -> list[Identity]:
    """By whom the request is counted."""
    person = [] if caller.user_id is None else [Identity(IdentityKind.user, str(caller.user_id))]
    return [
        Identity(IdentityKind.key, caller.subject),
        Identity(IdentityKind.organisation, str(caller.organisation_id)),
        *person,
        _address(scope),
    ]


def _host(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _address(scope: Scope) -> Identity:
    return Identity(IdentityKind.ip, client_of(scope))


def _policies(route_class: RouteClass, rates: Mapping[IdentityKind, Rate]) -> Iterator[tuple[IdentityKind, Policy]]:
    for kind in IdentityKind:
        if kind in rates:
            yield kind, Policy.of(f"{route_class}-{kind}", rates[kind])


def _fields(policies: Policies, standings: Sequence[Standing]) -> Fields:
    return [policy_field(policy for _, policy in policies), *standing_fields(standings)] if policies else []


def _refusal(standing: Standing, what: str = "Too many requests") -> Problem:
    policy = standing.policy
    route_class, _, kind = policy.name.rpartition("-")
    RATE_LIMIT_REFUSALS.labels(route_class, kind).inc()
    detail = f"{what}: {policy.amount} are allowed in {policy.seconds} seconds; slow down"
    return Problem(Kind.too_many, CODE, detail, retry_after=max(1.0, standing.reset))
