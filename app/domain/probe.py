"""The organisation of the installation's own probe, whose events go to a receiver that stands in a private network."""

from uuid import UUID

PROBE = UUID("00000000-0000-7000-8000-000000000001")
"""The same in every installation, so that workers and API know it without asking."""
