"""Beat with an entry in its schedule that is broken, and one that is due each second."""

from datetime import datetime

from celery.schedules import schedstate, schedule

from worker.celery_app import celery


class Broken(schedule):
    """Fails when it is asked whether it is due."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Raises ZeroDivisionError."""
        raise ZeroDivisionError(last_run_at)


celery.conf.beat_schedule["sent"] = {"task": "nobody", "schedule": schedule(1.0)}
celery.conf.beat_schedule["broken"] = {"task": "nobody", "schedule": Broken(1.0)}
