"""Letters: what a mail is about, and how it becomes text.

Each kind has a template in `templates`, named `kind.txt`: its first line is the subject, an empty line follows, the
rest is the text. Links in it begin with `{{ public_url }}`; every other name is one of the letter's values.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

MOST_CHARACTERS = 2000
_environment = Environment(
    loader=PackageLoader("app.features.mail"),
    autoescape=select_autoescape(),  # a template of text is no HTML
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """A mail before it is written out: its kind, to which address, and the values that its template names."""

    kind: str
    address: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """A letter as it is read."""

    subject: str
    body: str


def write(letter: Letter, public_url: str) -> Text:
    """The letter's subject and text. Raises UndefinedError for a value that is missing."""
    values = {name: one_line(value) for name, value in letter.values.items()}
    written = _environment.get_template(f"{letter.kind}.txt").render(values, public_url=public_url.rstrip("/"))
    subject, _, body = written.partition("\n")
    return Text(one_line(subject), body.lstrip("\n"))


def one_line(value: str) -> str:
    """A value that cannot begin a line of its own, nor turn or hide what is around it."""
    plain = (" " if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp", "Cs"} else one for one in value)
    return "".join(plain)[:MOST_CHARACTERS].strip()
