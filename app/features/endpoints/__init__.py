"""Endpoints: where messages go, with their secrets, headers and figures."""
