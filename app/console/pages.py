"""How pages are rendered and framed."""

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

STATIC = Path(__file__).parent / "static"
# What a page needs beside the headers of every answer.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Robots-Tag": "noindex",
}


def _moment(value: datetime) -> str:
    """A moment for people; the page says that it is UTC."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


_environment = Environment(
    loader=PackageLoader("app.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["moment"] = _moment


def render(template: str, base: str, **values: object) -> str:
    """The page as HTML, with links that begin with the path `base`; every value is escaped."""
    return _environment.get_template(template).render(base=base, **values)
