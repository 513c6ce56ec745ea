"""Requests to places that others chose: judged by address, bounded in time and bytes."""

from app.kit.egress.client import Answer, Egress, Options, Outgoing, Policy
from app.kit.egress.connections import BODY_BYTES

__all__ = ["BODY_BYTES", "Answer", "Egress", "Options", "Outgoing", "Policy"]
