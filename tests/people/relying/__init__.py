"""Postrider as the client of identity providers."""
