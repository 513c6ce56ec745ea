"""What is limited, and by whom it is counted."""

from enum import StrEnum


class RouteClass(StrEnum):
    """What a request does, as far as limits go; `sign_in` is an authentication that failed."""

    ingest = "ingest"
    read = "read"
    write = "write"
    administration = "administration"
    sign_in = "sign_in"


class IdentityKind(StrEnum):
    """Who spends: the credential, its organisation, the client's address."""

    key = "key"
    organisation = "organisation"
    ip = "ip"
