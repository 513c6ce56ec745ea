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
from app.models.organisation import (
    ApiKey,
    ApiKeySecret,
    Environment,
    Organisation,
    OrganisationUsage,
    PortalExpiry,
    RevokedPortalToken,
)
from app.models.signature import SignatureNonce, UsedLink

__all__ = [
    "ActionKind",
    "ApiKey",
    "ApiKeyAddress",
    "ApiKeySecret",
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
    "Environment",
    "EventType",
    "IdempotencyKey",
    "Lane",
    "Message",
    "MessageEventId",
    "Organisation",
    "OrganisationUsage",
    "Payload",
    "PortalExpiry",
    "RevokedPortalToken",
    "SignatureNonce",
    "Status",
    "Trigger",
    "UsedLink",
]
