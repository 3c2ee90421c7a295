"""Tokens of installations of GitHub Apps.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from flask_grpcweb_scm.scm.providers import Credential, GitHubApp, ProviderMisconfigured

if TYPE_CHECKING:
    from flask_grpcweb_scm.scm.providers.http import HttpClient

__all__ = ["InstallationTokens", "app_jwt", "forget_token"]

CLOCK_TOLERANCE = 60
JWT_SECONDS = 540
"""The limit is ten minutes from the time that GitHub's clock has."""
RENEWED_BEFORE = 300
"""Seconds before a token ends: what is begun with it may take as long."""

Key = tuple[str, str, str, str]


class _Token(NamedTuple):
    credential: Credential
    ends: float
    """Seconds since the epoch."""


_kept: dict[Key, _Token] = {}
"""Tokens of this process; two threads that make one at the same time do no harm."""


class InstallationTokens:
    """The token of an app as it is installed in an account, made when it is needed, and again before it ends.

    :param connect: makes a client of the REST API with a credential, which is kept out of messages.
    :param site: the host that the app is of.
    """

    def __init__(self, app: GitHubApp, connect: Callable[[Credential], HttpClient], site: str) -> None:
        self._app = app
        self._connect = connect
        digest = hashlib.sha256(app.private_key.encode()).hexdigest()
        self._key: Key = (site, app.app_id, app.installation_id, digest)

    def current(self) -> Credential:
        """Return a token that is valid for some minutes.

        :raises ProviderError: when GitHub makes none.
        """
        kept = _kept.get(self._key)
        return kept.credential if kept is not None and time.time() < kept.ends - RENEWED_BEFORE else self._make()

    def renewed(self, refused: Credential) -> Credential:
        """Return another token than one that is not accepted any more."""
        kept = _kept.get(self._key)
        return kept.credential if kept is not None and kept.credential != refused else self._make()

    def _make(self) -> Credential:
        """``POST /app/installations/{installation_id}/access_tokens``."""
        client = self._connect(Credential(token=app_jwt(self._app)))
        reply = client.request("POST", f"/app/installations/{self._app.installation_id}/access_tokens")
        credential = Credential(token=reply.value("token", kind=str))
        try:
            ends = datetime.fromisoformat(reply.value("expires_at", kind=str).replace("Z", "+00:00")).timestamp()
        except (ValueError, OverflowError):
            raise client.unexpected() from None
        if not credential.token or not credential.is_sendable():
            raise client.unexpected()
        now = time.time()
        for key in [key for key, token in _kept.items() if token.ends < now]:
            _kept.pop(key, None)
        _kept[self._key] = _Token(credential, ends)
        return credential


def forget_token(refused: Credential) -> None:
    """Have another token made in place of one that is not accepted any more, if it is one of these."""
    for key in [key for key, token in _kept.items() if token.credential == refused]:
        _kept.pop(key, None)


def app_jwt(app: GitHubApp) -> str:
    """Sign what an app says of itself: the time, 60 seconds ago because clocks differ, and its id.

    :raises ProviderMisconfigured: without PyJWT, or for a key that is none.
    """
    try:
        import jwt
        from jwt.algorithms import has_crypto
    except ImportError:
        has_crypto = False
    if not has_crypto:
        raise ProviderMisconfigured(
            "a GitHub App signs by RSA, which needs: pip install 'flask_grpcweb_scm[github-app]'", provider="github"
        )
    now = int(time.time())
    claims = {"iat": now - CLOCK_TOLERANCE, "exp": now + JWT_SECONDS, "iss": app.app_id}
    try:
        return jwt.encode(claims, app.private_key, algorithm="RS256")
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
        # Not the text of the error, which may have parts of the key. A public key has no way to sign.
        text = f"the private key of the GitHub App {app.app_id} is not a private RSA key in PEM without a passphrase"
        raise ProviderMisconfigured(text, provider="github") from None
