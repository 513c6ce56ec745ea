"""Whether the service can do its work."""
