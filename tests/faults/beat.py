"""Beat whose hour is a second."""

from datetime import timedelta

from worker.celery_app import celery

HOUR_SECONDS = 1.0
for entry in celery.conf.beat_schedule.values():
    entry["schedule"] = timedelta(seconds=HOUR_SECONDS)
