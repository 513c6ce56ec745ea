"""The events of Postrider itself that an organisation can subscribe to."""

EVENT_TYPES = (
    "api_key.expiring",
    "background_task.finished",
    "endpoint.created",
    "endpoint.deleted",
    "endpoint.disabled",
    "endpoint.updated",
    "message.attempt.exhausted",
    "message.attempt.failing",
    "message.attempt.recovered",
)
