"""What a browser says of itself, coarsely: enough to notice another one, too little to tell people apart."""

from dataclasses import dataclass
from hashlib import sha256

UNNAMED = "an unknown browser"
MOST_LANGUAGES = 4
MOST_TAG = 8


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser's family, its system's family, and the languages it asks for, without versions or regions."""

    family: str = ""
    system: str = ""
    languages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it: `Firefox on Linux`."""
        if not self.family:
            return f"{UNNAMED} on {self.system}" if self.system else UNNAMED
        return f"{self.family} on {self.system}" if self.system else self.family

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that are the same for as long as the three are."""
        return sha256("\0".join((self.family, self.system, *self.languages)).encode()).digest()


UNKNOWN = Browser()


def languages_of(header: str) -> tuple[str, ...]:
    """The first languages of an Accept-Language header, without regions and weights: `de-AT,de;q=0.9,en` is de, en."""
    tags = (part.partition(";")[0].strip().partition("-")[0].lower() for part in header.split(","))
    known = dict.fromkeys(tag for tag in tags if tag.isascii() and tag.isalpha() and len(tag) <= MOST_TAG)
    return tuple(known)[:MOST_LANGUAGES]
