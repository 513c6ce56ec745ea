"""Requests to places that others chose: judged by address, bounded in time and bytes."""

from app.kit.egress.client import Answer, Egress, Options, Outgoing, Policy
from app.kit.egress.connections import BODY_BYTES
from app.kit.egress.names import NameLookupError

__all__ = ["BODY_BYTES", "Answer", "Egress", "NameLookupError", "Options", "Outgoing", "Policy"]
