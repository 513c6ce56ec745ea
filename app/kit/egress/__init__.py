"""Requests to places that others chose: judged by address, bounded in time and bytes."""

from app.kit.egress.client import BODY_BYTES, Answer, Egress, Options, Outgoing, Policy

__all__ = ["BODY_BYTES", "Answer", "Egress", "Options", "Outgoing", "Policy"]
