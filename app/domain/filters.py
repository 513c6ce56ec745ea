"""Which endpoints a message goes to."""

from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Subscription:
    """What an endpoint listens to; None and the empty set mean no filter.

    `feature_flags` are those its application holds; None means that all event types are open to it.
    """

    event_types: frozenset[str] | None = None
    channels: frozenset[str] | None = None
    disabled: bool = False
    feature_flags: frozenset[str] | None = None


def matches(
    subscription: Subscription,
    event_type: str,
    channels: frozenset[str],
    event_flags: frozenset[str] = _NONE,
) -> bool:
    """Tell whether an endpoint gets a message of this type on these channels.

    An endpoint without channels takes messages on any; one with channels takes only messages that share
    one with it, so never a message without channels. `event_flags` are the flags of the event type, one
    of which must be held.
    """
    if subscription.disabled:
        return False
    if subscription.event_types and event_type not in subscription.event_types:
        return False
    if subscription.channels and subscription.channels.isdisjoint(channels):
        return False
    flags = subscription.feature_flags
    return flags is None or not event_flags or not flags.isdisjoint(event_flags)
