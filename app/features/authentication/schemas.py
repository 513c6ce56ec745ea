"""Portal access on the wire."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from app.auth.portal import LIFETIME, LONGEST, SHORTEST, Capability
from app.kit.wire import WHOLE, In, Metadata, Name, Names, Out, Rate

WholeSeconds = Annotated[int, Field(ge=int(SHORTEST.total_seconds()), le=int(LONGEST.total_seconds())), WHOLE]


SessionId = Annotated[str, Field(min_length=1, max_length=256)]


class PortalApplicationIn(In):
    """The application to make when the path names none."""

    name: str = Field(min_length=1)
    uid: Name | None = None
    throttle_rate: Rate | None = Field(None, validation_alias=AliasChoices("throttleRate", "rateLimit"))
    metadata: Metadata = Field(default_factory=dict)


CAPABILITIES = frozenset(Capability)


def _capability(value: object) -> object:
    return Capability(value) if isinstance(value, str) and value in CAPABILITIES else value


OneCapability = Annotated[Capability, BeforeValidator(_capability)]


class AppPortalAccessIn(In):
    """What the token is to allow. Without `capabilities` it allows everything; `readOnly` takes every change away."""

    application: PortalApplicationIn | None = None
    feature_flags: Names | None = Field(None, description="Left out or empty: every event type that has no flag")
    capabilities: list[OneCapability] | None = None
    expiry: WholeSeconds | None = Field(int(LIFETIME.total_seconds()), description="Seconds the token lives")
    read_only: bool | None = None
    session_id: SessionId | None = None


class ApplicationTokenExpireIn(In):
    """Which portal tokens are to end, and when: at once, or after a while."""

    expiry: Annotated[int, Field(ge=0, le=int(LONGEST.total_seconds())), WHOLE] | None = Field(
        None, description="Seconds until they end"
    )
    session_ids: list[SessionId] | None = Field(None, description="Only those of these sessions", max_length=100)


class AppPortalAccessOut(Out):
    """The token, and a page that takes it."""

    url: str
    token: str
