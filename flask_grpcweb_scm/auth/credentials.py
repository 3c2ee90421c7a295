"""Signed tokens: they carry an identity, its permissions and an expiry, and are stored nowhere."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from flask_grpcweb_scm.rpc import Identity

__all__ = ["SignedToken", "SignedTokens", "TokenError"]


class TokenError(Exception):
    """Raised for an invalid token; the text has the reason, and nothing of the token."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """The claims of a signed token."""

    id: str
    """Random; names the token for revocation and in logs."""
    identity: Identity
    expires: int
    """Seconds of Unix time."""


class SignedTokens:
    """Issues and reads signed tokens.

    :param token_secrets: newest first; the newest one signs, any of them may have signed.
    :param revoked: ids of tokens that are no longer valid.
    """

    def __init__(self, token_secrets: Sequence[str], revoked: Collection[str] = ()) -> None:
        self._revoked = frozenset(revoked)
        self._serializer = URLSafeSerializer(
            [*reversed(token_secrets)],
            salt="flask_grpcweb_scm.token",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def issue(
        self,
        name: str,
        *,
        expires_in: float,
        organizations: Iterable[int | str] = (),
        methods: Iterable[str] = (),
    ) -> str:
        """Make a token.

        :param expires_in: seconds from now.
        :param organizations: ids or slugs; none means all.
        :param methods: ``pkg.Service/Method`` or ``pkg.Service/*``; none means all.
        """
        claims = {
            "id": secrets.token_hex(8),
            "name": name,
            "exp": int(time.time() + expires_in),
            "organizations": list(organizations),
            "methods": list(methods),
        }
        token = self._serializer.dumps(claims)
        return token if isinstance(token, str) else token.decode("ascii")

    def read(self, token: str) -> SignedToken:
        """Check a token and return its claims.

        :raises TokenError: when it is forged, revoked or expired.
        """
        try:
            claims: dict[str, Any] = self._serializer.loads(token)
        except BadData:
            raise TokenError("the token is not valid") from None
        if claims["id"] in self._revoked:
            raise TokenError("the token is revoked")
        if claims["exp"] <= time.time():
            raise TokenError("the token has expired")
        identity = Identity(
            name=f"{claims['name']} (token {claims['id']})",
            organizations=frozenset(claims["organizations"]) or None,
            methods=frozenset(claims["methods"]) or None,
        )
        return SignedToken(claims["id"], identity, claims["exp"])
