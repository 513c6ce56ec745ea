"""Takes out of a text what nobody may read in logs and error reports, whoever wrote the text."""

import re

HIDDEN = "***"
MOST = 16_000
"""Characters that are kept of a text: its beginning and its end."""
_END = r"(?=\n(?:HINT|LINE|QUERY|CONTEXT|DETAIL)?:|\n\[SQL|\n\(Background|\n\n|\n  File |\Z)"
_RULES = (
    # What PostgreSQL says of the values of a row, which may be anybody's.
    (re.compile(rf"(DETAIL|CONTEXT):.*?{_END}", re.DOTALL), rf"\1: {HIDDEN}"),
    (re.compile(r"\[parameters: .*?\]$", re.DOTALL | re.MULTILINE), f"[parameters: {HIDDEN}]"),
    (re.compile(r"(invalid input for query argument \$\d+: ).*(?= \()", re.DOTALL), rf"\1{HIDDEN}"),
    (re.compile(r"(invalid input (?:syntax|value) for [\w ]+: )\".*?\"(?=\n|\Z)", re.DOTALL), rf"\1{HIDDEN}"),
    # What pydantic says of an input.
    (re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL), f"input_value={HIDDEN}"),
    (re.compile(r"(?<=://)[^\s/@\"']+@"), f"{HIDDEN}@"),
    (re.compile(r"([?&][\w.\-]+=)[^&\s\"'#]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=\-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(wh(?:k|sec|sk)_)[\w+/=]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w\-]*\.[\w\-]*(?:\.[\w\-]*)*"), HIDDEN),
    # Secrets of ours are 43 characters or more, and hold all kinds of them.
    (re.compile(r"\b(?=[\w\-+]*\d)(?=[\w\-+]*[A-Z])(?=[\w\-+]*[a-z])[\w\-+]{40,}={0,2}"), HIDDEN),
    (re.compile(r"[^\s\"<>(),:;=@\[\]]+@(?!\*)[\w\-]+(?:\.[\w\-]+)+"), HIDDEN),
)


def scrubbed(text: str) -> str:
    """The text without credentials, mail addresses, query strings and values of rows; a long one without its middle."""
    if len(text) > MOST:
        text = f"{text[: MOST // 4]} … {text[-3 * MOST // 4 :]}"
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
