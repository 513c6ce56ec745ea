"""Webhooks about Postrider itself, sent through Postrider to the organisation."""
