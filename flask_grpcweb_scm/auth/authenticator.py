"""Authentication by the configuration keys, and authorization of methods."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence

from flask_grpcweb_scm.auth.counts import Uncountable
from flask_grpcweb_scm.auth.credentials import SignedTokens, TokenError, check_signature
from flask_grpcweb_scm.rpc import ANONYMOUS, Authenticate, CallContext, Identity, RpcError, StatusCode, unavailable

__all__ = ["Authenticator", "guard", "let_in"]

_BEARER = "bearer "


class Authenticator:
    """Identifies the caller by a token or a signature.

    :param tokens: accepted tokens and their identities.
    :param signed_tokens: reads any other token.
    :param hmac_secrets: of signed requests, any of which may match.
    :param hmac_max_age: seconds that a signed request's timestamp may be off.
    """

    def __init__(
        self,
        *,
        tokens: Mapping[str, Identity] | None = None,
        signed_tokens: SignedTokens | None = None,
        hmac_secrets: Sequence[str] = (),
        hmac_max_age: float = 300,
        hmac_require_timestamp: bool = False,
    ) -> None:
        self._tokens = [(_digest(token), identity) for token, identity in (tokens or {}).items()]
        self._signed_tokens = signed_tokens
        self._hmac_secrets = hmac_secrets
        self._hmac_max_age = hmac_max_age
        self._hmac_require_timestamp = hmac_require_timestamp

    def __call__(self, context: CallContext) -> Identity:
        """Identify the caller.

        :raises RpcError: UNAUTHENTICATED, when the credentials are missing or wrong; UNAVAILABLE, when nobody can say
            whether a token is revoked.
        """
        token = _token(context)
        if token is not None and (self._tokens or self._signed_tokens):
            return self._by_token(token)
        signature = context.metadata.get_text("x-signature")
        if signature is not None and self._hmac_secrets:
            check_signature(
                context,
                signature,
                secrets=self._hmac_secrets,
                max_age=self._hmac_max_age,
                require_timestamp=self._hmac_require_timestamp,
            )
            return Identity("signature")
        raise RpcError(StatusCode.UNAUTHENTICATED, f"authentication required: send {' or '.join(self._ways())}")

    def _by_token(self, token: str) -> Identity:
        given = _digest(token)
        # Digests have one length, and every token is compared, so that the duration reveals nothing.
        matching = [identity for digest, identity in self._tokens if hmac.compare_digest(digest, given)]
        if matching:
            return matching[0]
        if self._signed_tokens is None:
            raise RpcError(StatusCode.UNAUTHENTICATED, "the token is not valid")
        try:
            return self._signed_tokens.read(token).identity
        except TokenError as error:
            raise RpcError(StatusCode.UNAUTHENTICATED, str(error)) from None
        except Uncountable:
            # It may be one of them.
            raise unavailable("revoked tokens cannot be read at present; try again later") from None

    def _ways(self) -> Iterable[str]:
        if self._tokens or self._signed_tokens:
            yield "X-Grpc-Auth-Token"
        if self._hmac_secrets:
            yield "X-Signature and X-Method"


def let_in(context: CallContext) -> Identity:
    """Accept every caller as anonymous and unrestricted."""
    return ANONYMOUS


def guard(authenticate: Authenticate, public_methods: Collection[str]) -> Authenticate:
    """Wrap an authenticator with the checks that apply to all of them.

    :param public_methods: open to callers without credentials, as ``pkg.Service/Method`` or ``pkg.Service/*``.
    :returns: a callable that raises RpcError PERMISSION_DENIED when the caller may not call the method.
    """
    public = Identity(methods=frozenset(public_methods))

    def authorize(context: CallContext) -> Identity:
        assert context.method is not None
        service, method = context.method.service.name, context.method.name
        if public.methods and public.may_call(service, method):
            return ANONYMOUS
        caller = authenticate(context)
        if caller.methods is not None and not caller.may_call(service, method):
            raise RpcError(StatusCode.PERMISSION_DENIED, f"{caller.name} may not call {service}/{method}")
        return caller

    return authorize


def _token(context: CallContext) -> str | None:
    token = context.metadata.get_text("x-grpc-auth-token")
    authorization = context.metadata.get_text("authorization") or ""
    if token is None and authorization.lower().startswith(_BEARER):
        token = authorization[len(_BEARER) :].strip()
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
