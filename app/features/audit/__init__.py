"""The audit log: events that are only added to, sealed in a chain that shows whether they still are what they were."""
