"""Every table. Importing this module registers all of them with the metadata."""

from app.models.application import Application, ApplicationKind
from app.models.audit import ApiKeyAddress, AuditChain, AuditEvent, AuditSeal, AuditUnsealed
from app.models.background_task import BackgroundTask
from app.models.delivery import (
    ActionKind,
    Attempt,
    Delivery,
    DeliveryAction,
    DueDelivery,
    DueState,
    Lane,
    Status,
    Trigger,
)
from app.models.endpoint import ApplicationRate, Endpoint, EndpointGate, EndpointHealth, EndpointRate, EndpointSecret
from app.models.event_type import EventType
from app.models.message import IdempotencyKey, Message, MessageEventId, Payload
from app.models.organisation import ApiKey, Organisation, RevokedPortalToken

__all__ = [
    "ActionKind",
    "ApiKey",
    "ApiKeyAddress",
    "Application",
    "ApplicationKind",
    "ApplicationRate",
    "Attempt",
    "AuditChain",
    "AuditEvent",
    "AuditSeal",
    "AuditUnsealed",
    "BackgroundTask",
    "Delivery",
    "DeliveryAction",
    "DueDelivery",
    "DueState",
    "Endpoint",
    "EndpointGate",
    "EndpointHealth",
    "EndpointRate",
    "EndpointSecret",
    "EventType",
    "IdempotencyKey",
    "Lane",
    "Message",
    "MessageEventId",
    "Organisation",
    "Payload",
    "RevokedPortalToken",
    "Status",
    "Trigger",
]
