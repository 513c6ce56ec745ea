"""What is limited, and by whom it is counted."""

from enum import StrEnum


class RouteClass(StrEnum):
    """What a request does, as far as limits go; `page` is one of the pages for people.

    `sign_in` is an authentication that failed.
    """

    ingest = "ingest"
    read = "read"
    write = "write"
    administration = "administration"
    page = "page"
    sign_in = "sign_in"


class IdentityKind(StrEnum):
    """Who spends: the credential, its organisation, the person, the person's browser, the client's address."""

    key = "key"
    organisation = "organisation"
    user = "user"
    device = "device"
    ip = "ip"
