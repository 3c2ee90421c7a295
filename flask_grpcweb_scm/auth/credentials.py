"""The credentials of a caller: signed tokens, and HMAC signatures of requests."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from flask_grpcweb_scm.rpc import CallContext, Identity, RpcError, StatusCode
from flask_grpcweb_scm.wire import sign

__all__ = ["SignedToken", "SignedTokens", "TokenError", "check_signature", "sign"]

_SIGNED_TOKEN = re.compile(r"\.?[\w-]+\.[\w-]+", re.ASCII)
"""Claims, after a dot where they are compressed, and a signature. The serializer skips what is no base64, such as the
dot before the timestamp that another serializer has signed."""
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)

# Signed tokens: they carry an identity, its permissions and an expiry, and are stored nowhere.


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
    :param revoked_elsewhere: others, which are looked up for each token.
    """

    def __init__(
        self, token_secrets: Sequence[str], revoked: Collection[str] = (), revoked_elsewhere: Container[str] = ()
    ) -> None:
        self._revoked = frozenset(revoked)
        self._revoked_elsewhere = revoked_elsewhere
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
        repositories: Iterable[int | str] = (),
        projects: Iterable[int | str] = (),
    ) -> str:
        """Make a token.

        :param expires_in: seconds from now.
        :param organizations: ids or slugs; none means all.
        :param methods: ``pkg.Service/Method`` or ``pkg.Service/*``; none means all.
        :param repositories: ids or names, in these organizations; none means all.
        :param projects: ids or slugs, in these organizations; none means all.
        :raises ValueError: for a text in place of one of these lists, and for an empty name in one.
        """
        lists = {"organizations": organizations, "methods": methods, "repositories": repositories, "projects": projects}
        scope = {key: _listed(value) for key, value in lists.items()}
        Identity.of_scope(name, scope)
        claims = {"id": secrets.token_hex(8), "name": name, "exp": int(time.time() + expires_in)}
        # Servers of an earlier version read tokens without the others.
        kept = {key: value for key, value in scope.items() if value or key in {"organizations", "methods"}}
        token = self._serializer.dumps({**claims, **kept})
        return token if isinstance(token, str) else token.decode("ascii")

    def read(self, token: str) -> SignedToken:
        """Check a token and return its claims.

        :raises TokenError: when it is forged, revoked or expired, or has claims that are none of ours.
        """
        if not _SIGNED_TOKEN.fullmatch(token):
            raise TokenError("the token is not valid")
        try:
            claims: dict[str, Any] = {**self._serializer.loads(token)}
            token_id, name, expires = (claims.pop(key) for key in ("id", "name", "exp"))
            identity = Identity.of_scope(f"{name} (token {token_id})", claims)
        except (BadData, KeyError, TypeError, ValueError, RecursionError):
            raise TokenError("the token is not valid") from None
        if type(token_id) is not str or type(expires) is not int:
            raise TokenError("the token is not valid")
        if token_id in self._revoked:
            raise TokenError("the token is revoked")
        if expires <= time.time():
            raise TokenError("the token has expired")
        if token_id in self._revoked_elsewhere:
            raise TokenError("the token is revoked")
        return SignedToken(token_id, identity, expires)


def _listed(value: Any) -> Any:
    """A list of the items; a value that has none, or whose items are not meant, as it is."""
    return [*value] if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else value


# Signatures


def check_signature(
    context: CallContext, signature: str, *, secrets: Sequence[str], max_age: float, require_timestamp: bool
) -> None:
    """Check a signature against the received request, not against the headers that describe it.

    :param max_age: seconds that the timestamp may be off, either way.
    :raises RpcError: UNAUTHENTICATED, with the part that does not match.
    """
    path = context.method.path if context.method else ""
    if context.metadata.get_text("x-method") != path:
        raise _refused(f"X-Method must be the path of the call, {path}")
    timestamp = _timestamp(context, max_age=max_age, required=require_timestamp)
    message = context.message_bytes
    body = context.metadata.get_text("x-body")
    if body is not None and body.lower() != message.hex():
        raise _refused("X-Body is not the hex of the message that was sent; it may be left out")
    given = signature.lower()
    if not any(hmac.compare_digest(sign(secret, path, message, timestamp), given) for secret in secrets):
        raise _refused("X-Signature does not match the request")


def _timestamp(context: CallContext, *, max_age: float, required: bool) -> int | None:
    text = context.metadata.get_text("x-timestamp")
    if text is None:
        if required:
            raise _refused("X-Timestamp is required in signed requests")
        return None
    if _TIMESTAMP.fullmatch(text) is None:
        raise _refused("X-Timestamp must be whole seconds of Unix time")
    if abs(time.time() - int(text)) > max_age:
        raise _refused(f"X-Timestamp is more than {max_age:g} seconds off; check the clock, then sign again")
    return int(text)


def _refused(message: str) -> RpcError:
    return RpcError(StatusCode.UNAUTHENTICATED, message)
