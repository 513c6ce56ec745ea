"""The scheduler of the periodic tasks: in memory, and heard of each time that it turns."""

from typing import Any

import celery.beat

from app.kit.telemetry.hearts import own_hearts

hearts = own_hearts(("beat",))


class Scheduler(celery.beat.Scheduler):
    """Celery's own, with a heartbeat."""

    def tick(self, *arguments: Any, **named: Any) -> float:  # noqa: ANN401 the base's own
        """Sends what is due; the seconds until more is."""
        hearts.beat("beat")
        wait: float = super().tick(*arguments, **named)
        return wait
