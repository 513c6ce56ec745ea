"""The API by a key, beside browsers."""

from tests.api.conftest import api, stranger

__all__ = ["api", "stranger"]
