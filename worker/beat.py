"""The scheduler of the periodic tasks: in memory, and heard of each time that it turns."""

from functools import partial
from typing import Any

import celery.beat

from app.kit.telemetry.hearts import own_hearts
from app.kit.telemetry.logs import get_logger

hearts = own_hearts(("beat",))
logger = get_logger(__name__)


class Scheduler(celery.beat.Scheduler):
    """Celery's own, with a heartbeat."""

    def tick(self, *arguments: Any, **named: Any) -> float:  # noqa: ANN401 the base's own
        """Sends what is due; the seconds until more is."""
        hearts.beat("beat")
        wait: float = super().tick(*arguments, **named)
        return wait

    def _ensure_connected(self) -> Any:  # noqa: ANN401 the base's own
        """Waits for the broker, and lives meanwhile: to start again would not bring it back."""
        retries = self.app.conf.broker_connection_max_retries
        return self.connection.ensure_connection(_say, retries, callback=partial(hearts.beat, "beat"))


def _say(error: Exception, seconds: float) -> None:
    logger.warning("redis_unavailable", error=str(error), effect=f"beat tries again in {seconds:g} s")
