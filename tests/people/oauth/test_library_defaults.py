"""What Authlib does by default and must not do here, one test for each; the same is shown over HTTP beside this.

That a default is unsafe is read from the library itself, so that an override that is needed no more is noticed.
"""

import inspect
import logging
import sys

import pytest
from authlib.integrations.sqla_oauth2 import OAuth2ClientMixin, OAuth2TokenMixin
from authlib.oauth2.rfc6749 import TokenMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import decode
from app.features.oauth.grants import ByPassword, ByRefreshToken, OnlyS256
from app.features.oauth.server import Client, Server
from app.models import OAuthClient, OAuthClientSecret, OAuthRefreshToken
from tests.api.client import Api
from tests.people.oauth.world import App, basic, code_for, new_app, redeem, refresh
from tests.people.visitor import Visitor


def test_plain_challenges_are_no_method() -> None:
    assert "plain" in CodeChallenge.SUPPORTED_CODE_CHALLENGE_METHOD
    assert CodeChallenge.DEFAULT_CODE_CHALLENGE_METHOD == "plain"
    assert (OnlyS256.SUPPORTED_CODE_CHALLENGE_METHOD, list(OnlyS256.CODE_CHALLENGE_METHODS)) == (["S256"], ["S256"])
    assert OnlyS256.DEFAULT_CODE_CHALLENGE_METHOD is None


def test_a_challenge_is_asked_for_at_the_authorization_endpoint() -> None:
    assert "return" in inspect.getsource(CodeChallenge.validate_code_challenge)
    assert OnlyS256.validate_code_challenge is not CodeChallenge.validate_code_challenge


def test_refresh_tokens_rotate() -> None:
    assert grants.RefreshTokenGrant.INCLUDE_NEW_REFRESH_TOKEN is False
    assert ByRefreshToken.INCLUDE_NEW_REFRESH_TOKEN is True


def test_a_wrong_password_is_an_invalid_grant() -> None:
    library = inspect.getsource(grants.ResourceOwnerPasswordCredentialsGrant.validate_token_request)
    assert "raise InvalidRequestError(\n                \"Invalid 'username'" in library
    assert "InvalidGrantError" in inspect.getsource(ByPassword.validate_token_request)


async def test_secrets_and_tokens_are_kept_as_digests(
    signed_in: Visitor, app: App, sessions: sessionmaker[Session]
) -> None:
    assert {"client_secret"} <= vars(OAuth2ClientMixin).keys()
    assert {"access_token", "refresh_token"} <= vars(OAuth2TokenMixin).keys()
    tokens = (await redeem(app, await code_for(signed_in, app))).body
    client_id = decode("client", app.id)
    with sessions() as db:
        stored = [
            *db.scalars(select(OAuthClientSecret).filter_by(client_id=client_id)),
            *db.scalars(select(OAuthRefreshToken)),
            *db.scalars(select(OAuthClient).filter_by(id=client_id)),
        ]
    written = " ".join(str(vars(one)) for one in stored)
    for secret in (app.secret, tokens["refresh_token"], tokens["access_token"]):
        assert secret is not None
        assert secret not in written
    assert not issubclass(OAuthRefreshToken, TokenMixin)


async def test_a_client_shows_who_it_is_at_every_endpoint_as_it_was_registered(api: Api) -> None:
    assert "return True" in inspect.getsource(OAuth2ClientMixin.check_endpoint_auth_method)
    app = await new_app(api, authMethod="client_secret_post")
    row = OAuthClient(auth_method="client_secret_post", id=decode("client", app.id))
    for endpoint in ("token", "revocation", "introspection"):
        assert Client(row, [], "live").check_endpoint_auth_method("client_secret_post", endpoint)
        assert not Client(row, [], "live").check_endpoint_auth_method("client_secret_basic", endpoint)
    for path in ("/oauth/revoke", "/oauth/introspect"):
        wrong = {"authorization": basic(app.id, app.secret or "")}
        assert (await app.plain(path, {"token": "x"}, wrong)).status == 401
        right = {"token": "x", "client_id": app.id, "client_secret": app.secret or ""}
        assert (await app.plain(path, right, {})).status == 200


def test_tokens_are_not_made_by_the_librarys_generator() -> None:
    assert "kid" not in inspect.getsource(JWTBearerTokenGenerator.access_token_generator)
    assert "generate_token" not in inspect.getsource(Server.issue)


@pytest.mark.acceptance("T14")
async def test_the_library_writes_no_token_into_the_log(
    signed_in: Visitor, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    assert "Issue token %r" in inspect.getsource(sys.modules[grants.RefreshTokenGrant.__module__])
    assert logging.getLogger("authlib").getEffectiveLevel() >= logging.INFO
    caplog.set_level(logging.DEBUG)
    code = await code_for(signed_in, app)
    tokens = (await redeem(app, code)).body
    newer = (await refresh(app, tokens["refresh_token"])).body
    texts = [
        code,
        app.secret or "",
        *(one[name] for one in (tokens, newer) for name in ("access_token", "refresh_token")),
    ]
    assert [one for one in texts if one in caplog.text] == []
