"""Secrets that name their owner."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.domain.owned_tokens import SECRET_BYTES, Token

TOKENS = st.builds(Token, st.uuids(), st.uuids(), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))


@given(TOKENS)
def test_what_was_written_is_read(token: Token) -> None:
    assert Token.read(token.text()) == token
    assert len(token.text()) == 86
    assert len(token.digest) == 32


@given(TOKENS, st.integers(0, 85), st.characters())
def test_a_text_with_another_character_is_another_token_or_none(token: Token, at: int, other: str) -> None:
    text = token.text()
    changed = text[:at] + other + text[at + 1 :]
    found = Token.read(changed)
    assert found is None or (found == token) == (changed == text)


@given(st.text(max_size=120))
def test_any_other_text_is_none(text: str) -> None:
    found = Token.read(text)
    assert found is None or found.text() == text


def test_a_token_does_not_show_its_secret() -> None:
    assert "Token" in repr(Token(UUID(int=1), UUID(int=2), b"s" * SECRET_BYTES))
    assert "ssss" not in repr(Token(UUID(int=1), UUID(int=2), b"s" * SECRET_BYTES))
