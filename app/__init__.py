"""Postrider: an event in, signed webhooks out."""

VERSION = "0.1.0"
