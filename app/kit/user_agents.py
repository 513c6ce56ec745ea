"""Reads what browsers say of themselves."""

from ua_parser import parse

from app.domain.browsers import Browser, languages_of


def browser_of(user_agent: str, accept_language: str) -> Browser:
    """The browser behind these two headers. It takes a millisecond: ask it of whoever proved something."""
    found = parse(user_agent)
    family = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    return Browser(family, system, languages_of(accept_language))
