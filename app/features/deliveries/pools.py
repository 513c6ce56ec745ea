"""Pools of workers: which lanes of deliveries one sends, and which queues of wake-ups are for it.

The first and the later tries, and what is sent anew, may each have processes of their own, so that a flood of one kind
takes no room from the others. What is neither, such as mail and retention, is maintenance.
"""

from collections.abc import Collection, Sequence

from app.kit.queue import MAINTENANCE_QUEUE, WAKE_QUEUE
from app.models import Lane

QUEUES = {Lane.first: WAKE_QUEUE, Lane.retry: "wake-retry", Lane.replay: "wake-replay"}
"""The queue of each lane. Retries come by their time: nobody calls for them, and a worker must listen to something."""


class NoSuchQueueError(ValueError):
    """A queue that there is not, or that is for a lane that the pool does not send."""


def queues_of(lanes: Collection[Lane]) -> list[str]:
    """What a pool listens to by itself: a pool for some of the lanes leaves maintenance to others."""
    own = [queue for lane, queue in QUEUES.items() if lane in lanes]
    return own if own and len(own) < len(QUEUES) else [*own, MAINTENANCE_QUEUE]


def check_queues(queues: Sequence[str], lanes: Collection[Lane]) -> None:
    """NoSuchQueueError when one is not for a pool that sends these lanes."""
    known = [*QUEUES.values(), MAINTENANCE_QUEUE]
    for queue in queues:
        if queue not in known:
            raise NoSuchQueueError(f"there is no queue {queue!r}: choose from {', '.join(known)}")
        if missing := [lane.name for lane, own in QUEUES.items() if own == queue and lane not in lanes]:
            raise NoSuchQueueError(
                f"the queue {queue} is for the lane {missing[0]}: name it in POSTRIDER_DELIVERY__LANES, or leave it out"
            )
